//! Writers that overlap, with each other, with other changes, and with loads.

use super::fleet::soon;
use super::*;

/// P1: two writers in two processes commit in one order and arrive in it or in the other.
#[tokio::test]
async fn of_two_write_throughs_the_stale_one_is_never_served() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, read, put) in FORMS {
        for in_order in [true, false] {
            for warm in [true, false] {
                id += 10;
                let what = format!("{what}, arrived in order: {in_order}, warm: {warm}");
                if warm {
                    read(Arc::clone(&fleet.c), id).await;
                    read(Arc::clone(&fleet.c), id).await;
                }
                let (first, one) = begin(&fleet.a, id, put).await;
                let (second, two) = begin(&fleet.b, id, put).await;
                one.commit().await;
                two.commit().await;
                if in_order {
                    one.let_go();
                    assert_eq!(ended(&what, first).await.version, 1);
                    two.let_go();
                    assert_eq!(ended(&what, second).await.version, 2);
                } else {
                    two.let_go();
                    assert_eq!(ended(&what, second).await.version, 2);
                    all_read(&what, &fleet, read, id, 2).await;
                    one.let_go();
                    assert_eq!(ended(&what, first).await.version, 1);
                }
                all_read(&what, &fleet, read, id, 2).await;
                all_read(&what, &fleet, read, id, 2).await;
            }
        }
    }
}

/// P1: and neither of two forms that write the same entry.
#[tokio::test]
async fn of_two_forms_of_write_through_the_stale_one_is_never_served() {
    let fleet = Fleet::new().await;
    let forms: [(&str, Put); 4] =
        [("alone", alone), ("with tag", with_tag), ("of result", of_result), ("with pattern", with_pattern)];
    let mut id = 0;
    for (early, first_put) in forms {
        for (late, second_put) in forms {
            for second_begins_late in [true, false] {
                id += 10;
                let what = format!("{early}, then {late}");
                let (first, one) = begin(&fleet.a, id, first_put).await;
                let (second, two);
                if second_begins_late {
                    one.commit().await;
                    (second, two) = begin(&fleet.b, id, second_put).await;
                } else {
                    (second, two) = begin(&fleet.b, id, second_put).await;
                    one.commit().await;
                }
                two.commit().await;
                two.let_go();
                ended(&what, second).await;
                one.let_go();
                assert_eq!(ended(&what, first).await.version, 1);
                all_read(&what, &fleet, read_tagged, id, 2).await;
            }
        }
    }
}

/// P1: a later write that only invalidates, a direct change, or a load of a later value comes before it arrives.
#[tokio::test]
async fn a_write_through_does_not_undo_what_overtook_it() {
    macro_rules! later {
        (|$at:ident, $id:ident| $work:expr) => {
            |place, $id| {
                Box::pin(async move {
                    let $at = &*place;
                    $at.commit($id);
                    let _ = $work.await;
                })
            }
        };
    }
    #[cache_write(cache = at.cache, tags = ["group:<id>"])]
    async fn invalidates(at: &Place, id: u64) {
        at.commit(id);
    }
    #[cache_write(cache = at.cache, tags = ["other"], recache = [tagged(at, id)])]
    async fn recaches(at: &Place, id: u64) {
        at.commit(id);
    }
    let laters: [(&str, Write); 13] = [
        ("a write by tag", |at, id| Box::pin(async move { invalidates(&at, id).await })),
        ("a recache", |at, id| Box::pin(async move { recaches(&at, id).await })),
        ("a tag", later!(|at, id| at.cache.invalidate(format!("group:{id}")))),
        ("another tag", later!(|at, id| at.cache.invalidate(["other", "all"]))),
        ("the key", later!(|at, id| at.cache.delete(format!("row:{id}")))),
        ("the key as a tag", later!(|at, id| at.cache.invalidate(format!("row:{id}")))),
        ("pop", later!(|at, id| at.cache.pop::<Row>(format!("row:{id}")))),
        ("the namespace", later!(|at, id| at.cache.invalidate_namespace("rows"))),
        ("everything", later!(|at, id| at.cache.clear())),
        ("a pattern", later!(|at, id| at.cache.delete_match("row:*"))),
        ("the function", later!(|at, id| tagged::clear(at))),
        ("the companion's put", later!(|at, id| tagged::put(&at.source.now(id), at, id))),
        ("an expiry of zero", later!(|at, id| at.cache.expire(format!("row:{id}"), 0_u64))),
    ];
    let forms: [(&str, Put); 5] = [
        ("alone", alone),
        ("named by the result", of_result),
        ("with tag", with_tag),
        ("with pattern", with_pattern),
        ("named by the result, with tag", of_result_with_tag),
    ];
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, later) in laters {
        for (how, put) in forms {
            for loaded_before_it_arrives in [false, true] {
                id += 10;
                let what = format!("{what} during a write-through ({how}), loaded: {loaded_before_it_arrives}");
                let (early, gate) = begin(&fleet.a, id, put).await;
                gate.commit().await;
                within(&what, later(Arc::clone(&fleet.b), id)).await;
                if loaded_before_it_arrives {
                    all_read(&what, &fleet, read_tagged, id, 2).await;
                }
                gate.let_go();
                assert_eq!(ended(&what, early).await.version, 1);
                all_read(&what, &fleet, read_tagged, id, 2).await;
            }
        }
    }
}

/// P1: a load that began before the commit, in the writer's process or another, and ends before or after it arrives.
#[tokio::test]
async fn a_load_between_commit_and_arrival_does_not_leave_its_value() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, read, put) in FORMS {
        for near in [true, false] {
            for load_begins_first in [true, false] {
                for load_ends_first in [true, false] {
                    id += 10;
                    let what = format!("{what}, {near}, {load_begins_first}, {load_ends_first}");
                    let reader = if near { &fleet.a } else { &fleet.b };
                    fleet.source.hold(id, 1, 1);
                    let load = || tokio::spawn(read(Arc::clone(reader), id));
                    let begun = async || soon("the load", || fleet.source.loads(id) == 1).await;
                    let (old, writer, gate);
                    if load_begins_first {
                        old = load();
                        begun().await;
                        (writer, gate) = begin(&fleet.a, id, put).await;
                    } else {
                        (writer, gate) = begin(&fleet.a, id, put).await;
                        if what.starts_with("of a locked") {
                            // It would wait for the writer.
                            gate.commit().await;
                            gate.let_go();
                            ended(&what, writer).await;
                            continue;
                        }
                        old = load();
                        begun().await;
                    }
                    gate.commit().await;
                    if load_ends_first {
                        fleet.source.release(id);
                        ended(&what, old).await;
                        gate.let_go();
                        ended(&what, writer).await;
                    } else {
                        gate.let_go();
                        ended(&what, writer).await;
                        all_read(&what, &fleet, read, id, 1).await;
                        fleet.source.release(id);
                        ended(&what, old).await;
                    }
                    all_read(&what, &fleet, read, id, 1).await;
                    all_read(&what, &fleet, read, id, 1).await;
                }
            }
        }
    }
}
