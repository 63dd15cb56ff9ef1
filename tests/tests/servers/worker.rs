//! Workers: other processes that take commands.

use super::*;

#[tokio::test]
async fn a_worker_answers_in_order_and_exits() {
    let mut worker = Worker::start_with(WORKER, [("CACHE_TESTS_VARIABLE", "1")]).await;
    assert_eq!(worker.command("ping", Json::Null).await, json!("pong"));
    for number in 0..3 {
        worker.send("echo", json!({ "number": number })).await;
    }
    for number in 0..3 {
        assert_eq!(worker.answer().await.unwrap()["number"], number);
    }
    assert_eq!(worker.try_command("fly", Json::Null).await.unwrap_err(), "unknown command `fly`");
    worker.exit().await;
}

#[tokio::test]
async fn a_worker_is_stopped_continued_and_killed() {
    let mut worker = Worker::start(WORKER).await;
    worker.stop_signal();
    worker.send("ping", Json::Null).await;
    assert!(timeout(SHORT, worker.answer()).await.is_err(), "a stopped worker answered");
    worker.cont_signal();
    assert_eq!(worker.answer().await, Ok(json!("pong")));
    assert!(!worker.has_ended());
    worker.kill();
    assert!(worker.has_ended());
    assert_eq!(running_in(worker.pid()), 0);
}

#[tokio::test]
async fn a_worker_does_not_outlive_its_test_process() {
    for stopped in [false, true] {
        let mut owner = Worker::start(WORKER).await;
        let group = group_of(&owner.command("start worker", Json::Null).await);
        if stopped {
            owner.command("stop all", Json::Null).await;
        }
        assert_eq!(running_in(group), 1);
        owner.kill();
        nothing_runs_in(group).await;
    }
}
