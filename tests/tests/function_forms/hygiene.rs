//! Names that the expansion could use itself.
use super::{DbError, cache_read, cache_write, memoize};

#[cache_read(
    key = "names:<at>:<key>:<load>:<shape>:<w>:<t>:<value>:<mode>:<done>:<fake>",
    tags = ["x:<result>", format!("{at}{done}")],
    bypass = load == 77,
    skip(runnable)
)]
#[allow(clippy::too_many_arguments)]
async fn names(
    at: u64,
    key: u64,
    load: u64,
    shape: u64,
    w: u64,
    t: u64,
    value: u64,
    mode: u64,
    done: u64,
    fake: u64,
    runnable: String,
) -> u64 {
    let _ = runnable;
    at + key + load + shape + w + t + value + mode + done + fake
}

#[cache_write(tags = ["x:<at>:<w>", "y:<result>:<write>"], recache = [names(at, *result, write, 1, w, t, value, 1, done, fake, String::new())])]
#[allow(clippy::too_many_arguments)]
async fn written(
    at: u64,
    write: u64,
    w: u64,
    t: u64,
    value: u64,
    done: u64,
    fake: u64,
    captured: String,
) -> Result<u64, DbError> {
    drop(captured);
    let _ = (w, t, value, done, fake, write);
    Ok(at)
}

#[memoize(key = "raw:<r#type>:<bypass>")]
fn r#match(r#type: &str, bypass: u64) -> String {
    format!("{}{bypass}", r#type)
}

macro_rules! reader {
    ($name:ident, $arg:ident, $template:literal) => {
        #[cache_read(key = $template, tags = [format!("t:{}", result), tag_of($arg, result)])]
        async fn $name($arg: u64, hidden: u64) -> u64 {
            $arg + hidden
        }
    };
}
reader!(from_macro, id, "macro:<id>:<hidden>");

fn tag_of(id: u64, value: &u64) -> String {
    format!("{id}{value}")
}

/// B6: nothing of the expansion meets a name of the user's.
#[tokio::test]
async fn no_name_clashes() {
    super::in_test_cache(async {
        assert_eq!(names(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, String::new()).await, 10);
        assert_eq!(written(1, 1, 1, 1, 1, 1, 1, String::new()).await, Ok(1));
        assert_eq!(r#match("a", 1), "a1");
        assert_eq!(r#match::key("a", 1).as_str(), "raw:a:1");
        assert_eq!(from_macro(1, 2).await, 3);
        from_macro::invalidate(1, 2).await.unwrap();
    })
    .await;
}
