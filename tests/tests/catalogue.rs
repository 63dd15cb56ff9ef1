//! The catalogue: what annotated functions a program has, and what is wrong between them.

use cache_runtime::{
    Cache, Catalogue, Problem, ProblemKind, SiteKind, Ttl, cache_read, cache_write, catalogue, memoize, resource,
};

mod sound {
    //! A program with nothing wrong in it.
    use super::*;

    resource! { pub(crate) user("user", user_id: u64); }

    #[cache_read(key = "cat:user:<user_id>", ttl = "5m", tags = ["cat:user:<user_id>", "cat:org:<result>", user(user_id)])]
    pub(crate) async fn get_user(user_id: u64) -> u64 {
        user_id
    }

    #[cache_read(resource = user(user_id), suffix = "profile", ttl = Ttl::Short)]
    pub(crate) async fn get_profile(user_id: u64) -> u64 {
        user_id
    }

    #[cache_read(key = "cat:list:{page}", ttl = "forever", namespace = "lists")]
    pub(crate) async fn list(page: u32) -> Vec<u64> {
        vec![page.into()]
    }

    #[cache_write(tags = ["cat:user:<id>", "cat:org:<result>", "cat:list:<id>"], recache = [get_user(id), list(1)])]
    pub(crate) async fn rename(id: u64) -> u64 {
        id
    }

    #[cache_write(resource = user(id))]
    pub(crate) async fn update(id: u64) -> u64 {
        id
    }

    #[cache_write(tags = [user(id), "user:<id>", format!("computed:{id}")])]
    pub(crate) async fn touch(id: u64) -> u64 {
        id
    }

    #[memoize(ttl = 60)]
    pub(crate) fn squared(n: u64, name: &str) -> u64 {
        n * name.len() as u64
    }

    pub(crate) struct Repo;

    impl Repo {
        #[cache_read(key = "cat:method:<id>", skip(self))]
        pub(crate) async fn method(&self, id: u64) -> u64 {
            id
        }
    }
}

mod misspelt {
    use super::*;

    #[cache_write(tags = ["cat:usr:<id>", "cat:carried:elsewhere:<id>", "cat:user:<id>"])]
    pub(crate) async fn write(id: u64) -> u64 {
        id
    }

    /// One that carries what another service's write invalidates is no problem.
    #[cache_read(key = "cat:fine:<id>", tags = ["cat:written:elsewhere"])]
    pub(crate) async fn read(id: u64) -> u64 {
        id
    }
}

mod meeting {
    use super::*;

    #[cache_read(key = "cat:meet:<id>")]
    pub(crate) async fn number(id: u64) -> u64 {
        id
    }

    #[cache_read(key = "cat:meet:<other>")]
    pub(crate) async fn text(other: u64) -> Result<Option<String>, ()> {
        Ok(Some(other.to_string()))
    }

    #[cache_read(key = "cat:meet:<again>")]
    pub(crate) async fn number_again(again: u64) -> Option<u64> {
        Some(again)
    }

    #[cache_read(key = "cat:over:<a>:<b>")]
    pub(crate) async fn pair(a: u64, b: &str) -> u64 {
        a + b.len() as u64
    }

    #[cache_read(key = "cat:over:<a>:profile")]
    pub(crate) async fn profile(a: u64) -> u64 {
        a
    }
}

mod putting {
    use super::*;

    #[cache_read(key = "cat:put:<id>", tags = ["cat:put:all"])]
    pub(crate) async fn tagged(id: u64) -> u64 {
        id
    }

    #[cache_write(put = "cat:put:<id>")]
    pub(crate) async fn by_key(id: u64) -> u64 {
        id
    }

    #[cache_write(put = tagged(id))]
    pub(crate) async fn by_function(id: u64) -> u64 {
        id
    }

    #[cache_read(key = "cat:put:own:<id>", tags = ["cat:put:own:<id>"])]
    pub(crate) async fn its_own_tag(id: u64) -> u64 {
        id
    }

    #[cache_write(put = "cat:put:own:<id>")]
    pub(crate) async fn by_its_key(id: u64) -> u64 {
        id
    }
}

/// The problems of one module's functions.
fn problems_of(catalogue: &Catalogue, module: &str) -> Vec<Problem> {
    catalogue.problems().into_iter().filter(|problem| problem.function().module().ends_with(module)).collect()
}

/// N10: every annotated function of the program, with file and line, key, tags and ttl.
#[test]
fn every_annotated_function_is_listed() {
    let catalogue = catalogue();
    let find = |name: &str| {
        let mut found = catalogue.functions().iter().filter(|function| function.name() == name);
        let function = *found.next().unwrap_or_else(|| panic!("{name} is not listed"));
        assert!(found.next().is_none(), "{name} is listed twice");
        function
    };
    let user = find("get_user");
    assert_eq!(user.kind(), SiteKind::Read);
    assert_eq!(user.key().as_deref(), Some("cat:user:<user_id>"));
    assert_eq!(user.tags()[..2], ["cat:user:<user_id>", "cat:org:<result>"]);
    assert_eq!(user.ttl(), "5m");
    assert!(user.module().ends_with("::sound"), "{}", user.module());
    assert!(user.file().ends_with("catalogue.rs"), "{}", user.file());
    let source = include_str!("catalogue.rs").lines().collect::<Vec<_>>();
    let line = user.line() as usize;
    let around = &source[line - 1..line + 2];
    assert!(
        around.iter().any(|line| line.contains("fn get_user") || line.contains("cat:user:<user_id>")),
        "line {line}"
    );

    let profile = find("get_profile");
    assert_eq!((profile.key().as_deref(), profile.ttl().as_str()), (Some("user:profile:<user_id>"), "short"));
    let list = find("list");
    assert_eq!(
        (list.key().as_deref(), list.ttl().as_str()),
        (Some("cat:list:<page>"), "forever"),
        "one spelling for both brackets"
    );
    let rename = find("rename");
    assert_eq!((rename.kind(), rename.key()), (SiteKind::Write, None));
    assert_eq!(rename.recaches(), ["get_user", "list"]);
    let squared = find("squared");
    assert_eq!(squared.kind(), SiteKind::Memoize);
    assert!(squared.key().unwrap().ends_with(":squared:<n>:<name>"), "{:?}", squared.key());
    assert_eq!(find("method").key().as_deref(), Some("cat:method:<id>"));
    let text = catalogue.to_string();
    for name in ["get_user", "cat:user:<user_id>", "rename", "squared", "method"] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
}

/// N10: a sound program has no problems: tags by resource, by expression, by key, with other parameter names.
#[test]
fn a_sound_program_has_no_problems() {
    let problems = problems_of(&catalogue(), "::sound");
    assert!(problems.is_empty(), "{problems:?}");
}

/// N10: a tag that a write invalidates and nothing carries is named, with the write's place and what was probably meant.
#[test]
fn a_misspelt_tag_is_found() {
    let problems = problems_of(&catalogue(), "::misspelt");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(problems.iter().all(|problem| problem.kind() == ProblemKind::TagNobodyCarries));
    let usr = texts.iter().find(|text| text.contains("cat:usr:<id>")).expect("the misspelt tag");
    assert!(usr.contains("write") && usr.contains("catalogue.rs:") && usr.contains("cat:user:<"), "{usr}");
}

/// N10: a tag that another service carries can be allowed, and only it.
#[test]
fn a_tag_of_another_service_can_be_allowed() {
    for problems in [
        catalogue().allow("cat:carried:elsewhere:<id>").problems(),
        catalogue().problems().allow("cat:carried:elsewhere:<any_name>"),
    ] {
        let mine: Vec<String> = problems
            .iter()
            .filter(|problem| problem.function().module().ends_with("::misspelt"))
            .map(ToString::to_string)
            .collect();
        assert_eq!(mine.len(), 1, "{mine:?}");
        assert!(mine[0].contains("cat:usr:<id>"), "{mine:?}");
    }
    let all = catalogue().allow("cat:carried:elsewhere:<id>").allow("cat:usr:<id>");
    assert!(problems_of(&all, "::misspelt").is_empty());
}

/// N10: two functions on one key with different types are found; the same type behind other wrappings is none.
#[tokio::test]
async fn different_types_on_one_key_are_found() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            meeting::number(1).await;
            meeting::text(1).await.unwrap();
            meeting::number_again(1).await;
        })
        .await;
    let problems = problems_of(&catalogue(), "::meeting");
    let types: Vec<String> =
        problems.iter().filter(|problem| problem.kind() == ProblemKind::TypesDiffer).map(ToString::to_string).collect();
    assert_eq!(types.len(), 2, "text against both numbers: {types:?}");
    for text in &types {
        assert!(
            text.contains("meeting::text")
                && text.contains("u64")
                && text.contains("String")
                && text.contains("cat:meet:<"),
            "{text}"
        );
    }
}

/// N10: it is found before anything has run: a test suite need not call every function.
#[test]
fn different_types_are_found_without_running() {
    let problems = problems_of(&catalogue(), "::meeting");
    assert!(problems.iter().any(|problem| problem.kind() == ProblemKind::TypesDiffer), "{problems:?}");
}

/// N10: an entry put by key has none of its reader's tags, so a write by such a tag would leave it stale.
#[tokio::test]
async fn a_put_by_key_past_the_readers_tags_is_found() {
    let problems = problems_of(&catalogue(), "::putting");
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((problem.kind(), problem.function().name()), (ProblemKind::PutWithoutTags, "by_key"));
    assert!(problem.to_string().contains("put = tagged(..)"), "{problem}");
    Cache::for_test()
        .scope(async {
            putting::by_key(1).await;
            putting::by_function(1).await;
            putting::by_its_key(1).await;
            assert_eq!(putting::tagged(1).await + putting::its_own_tag(1).await, 2);
        })
        .await;
}

/// N10: templates that can make one text are found.
#[test]
fn overlapping_templates_are_found() {
    let problems = problems_of(&catalogue(), "::meeting");
    let overlaps: Vec<String> =
        problems.iter().filter(|problem| problem.kind() == ProblemKind::KeysOverlap).map(ToString::to_string).collect();
    assert_eq!(overlaps.len(), 1, "{overlaps:?}");
    assert!(overlaps[0].contains("pair") && overlaps[0].contains("profile"), "{overlaps:?}");
}

/// N10: what is listed is used somewhere, so that nothing here is dead code; and it works.
#[tokio::test]
async fn the_listed_functions_work() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            assert_eq!(sound::get_user(1).await + sound::get_profile(1).await, 2);
            assert_eq!(sound::list(1).await, [1]);
            assert_eq!(sound::rename(1).await + sound::update(1).await + sound::touch(1).await, 3);
            assert_eq!(sound::squared(2, "ab") + sound::Repo.method(1).await, 5);
            assert_eq!(misspelt::write(1).await + misspelt::read(1).await, 2);
            assert_eq!(meeting::pair(1, "a").await + meeting::profile(1).await, 3);
        })
        .await;
}
