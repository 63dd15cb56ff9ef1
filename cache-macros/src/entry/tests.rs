//! What attributes expand to and what they refuse, from tokens to tokens. The messages as users see them are in the
//! compile-fail suite of `cache-tests`.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;

/// The expansion of an attribute that must be right.
fn expanded(attribute: &str, args: TokenStream, item: TokenStream) -> String {
    let tokens = match attribute {
        "cache_write" => super::write(args, item),
        _ => super::read(args, item, attribute == "memoize"),
    };
    let messages = messages(&tokens);
    assert!(messages.is_empty(), "{messages:#?}");
    let wrapped = quote!(mod test { #tokens } impl Test { #tokens });
    if let Err(error) = syn::parse2::<syn::File>(quote!(mod test { #tokens })) {
        assert!(syn::parse2::<syn::File>(wrapped).is_ok(), "{error}: {tokens}");
    }
    tokens.to_string()
}

/// The headlines of what an attribute refuses.
fn refused(attribute: &str, args: TokenStream, item: TokenStream) -> Vec<String> {
    let tokens = match attribute {
        "cache_write" => super::write(args, item),
        _ => super::read(args, item, attribute == "memoize"),
    };
    messages(&tokens)
}

fn messages(tokens: &TokenStream) -> Vec<String> {
    let trees: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut found = Vec::new();
    for (i, tree) in trees.iter().enumerate() {
        if matches!(tree, TokenTree::Ident(ident) if ident == "compile_error")
            && let Some(TokenTree::Group(group)) = trees.get(i + 2)
            && let Ok(text) = syn::parse2::<syn::LitStr>(group.stream())
        {
            found.push(text.value().lines().next().unwrap_or_default().to_owned());
        }
    }
    found
}

fn contains(expanded: &str, fragment: TokenStream) {
    assert!(expanded.contains(&fragment.to_string()), "no `{fragment}` in\n{expanded}");
}

#[test]
fn free_function_has_a_companion() {
    let text = expanded(
        "cache_read",
        quote!(key = "user:<user_id>", ttl = "5m", tags = ["user:<user_id>", "org:<result.org_id>"], skip(db)),
        quote!(
            pub async fn get_user(db: &Db, user_id: u64) -> Result<User, DbError> {
                db.get(user_id).await
            }
        ),
    );
    contains(&text, quote!(get_user::__call(::cache_runtime::__private::Mode::Read, db, user_id).await));
    contains(
        &text,
        quote!(
            pub async fn bypass(db: &Db, user_id: u64) -> Result<User, DbError> {
                db.get(user_id).await
            }
        ),
    );
    contains(
        &text,
        quote!(pub async fn invalidate(user_id: u64) -> ::core::result::Result<(), ::cache_runtime::__private::Error>),
    );
    contains(&text, quote!(w.lit("user:"); w.part(&user_id);));
    contains(
        &text,
        quote!(done.on_value(|value, t| { t.tag("org:<result.org_id>", |w| { w.lit("org:"); w.part(&value.org_id); }); });),
    );
    contains(&text, quote!(.ttl_ms(300000)));
}

#[test]
fn trait_method_is_expanded_in_place() {
    let text = expanded(
        "cache_read",
        quote!(key = "x:<self.shard>:<id>"),
        quote!(
            async fn get(&self, id: u64) -> u64 {
                self.load(id)?
            }
        ),
    );
    contains(&text, quote!(w.part(&self.shard);));
    contains(&text, quote!(self.load(id)?));
    assert!(!text.contains("struct"));
}

#[test]
fn public_method_gets_functions_beside_it() {
    let text = expanded(
        "cache_read",
        quote!(key = "x:<id>", skip(self)),
        quote!(
            pub async fn get(&self, id: u64) -> u64 {
                id
            }
        ),
    );
    contains(&text, quote!(pub fn get_entry(&self, id: u64)));
    contains(&text, quote!(pub async fn get_refresh(&self, id: u64) -> u64));
}

#[test]
fn boxed_future_of_async_trait_is_seen_through() {
    let text = expanded(
        "cache_read",
        quote!(key = "x:<id>", skip(self)),
        quote!(
            fn get<'life0, 'async_trait>(
                &'life0 self,
                __arg1: Path<u64>,
            ) -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = u64> + ::core::marker::Send + 'async_trait>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async move {
                    if let ::core::option::Option::Some(__ret) = ::core::option::Option::None::<u64> {
                        return __ret;
                    }
                    let __self = self;
                    let Path(id) = {
                        let __arg1 = __arg1;
                        __arg1
                    };
                    let __ret: u64 = { id };
                    __ret
                })
            }
        ),
    );
    contains(&text, quote!(let __self = self; let Path(id) = { let __arg1 = __arg1; __arg1 }; let site:));
    contains(&text, quote!(w.part(&id);));
}

#[test]
fn a_boxed_body_that_ends_with_a_parameter_is_no_binding() {
    let text = expanded(
        "cache_read",
        quote!(key = "x:<id>", skip(self)),
        quote!(
            fn get<'life0, 'async_trait>(
                &'life0 self,
                id: u64,
            ) -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = u64> + ::core::marker::Send + 'async_trait>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async move {
                    let __self = self;
                    let id = id;
                    let __ret: u64 = {
                        let _ = __self;
                        id
                    };
                    __ret
                })
            }
        ),
    );
    contains(&text, quote!(let __self = self; let id = id; let site:));
    contains(&text, quote!(w.part(&id);));
}

#[test]
fn verbs_drop_generics_that_they_do_not_mention() {
    let text = expanded(
        "cache_read",
        quote!(key = "x:<id>", skip(store, I)),
        quote!(
            async fn get<S: Store, I>(store: &S, id: u64) -> u64
            where
                S: Send,
            {
                id
            }
        ),
    );
    contains(&text, quote!(async fn invalidate(id: u64)));
    contains(&text, quote!(async fn bypass<S: Store, I>));
    // `I` is in no parameter.
    assert_eq!(
        refused(
            "cache_read",
            quote!(key = "x:<id>"),
            quote!(
                async fn get<I>(id: u64) -> u64 {
                    id
                }
            )
        ),
        ["generic parameter `I` is in neither the key nor `skip(..)`"]
    );
}

#[test]
fn write_renders_before_and_recaches_after() {
    let text = expanded(
        "cache_write",
        quote!(
            tags = ["user:<id>", user(result.id)],
            recache = [a::get_user(db, id), self.get(id), Self::find::<T>(name), get_org(result.org)],
            patterns = ["u:<id>:*"]
        ),
        quote!(
            async fn rename(&self, db: &Db, id: u64, name: String) -> Result<User, E> {
                todo!()
            }
        ),
    );
    contains(&text, quote!(a::get_user::refresh));
    contains(&text, quote!(self.get_refresh));
    contains(&text, quote!(Self::find_refresh::<T>));
    contains(&text, quote!(let kept_name = ::cache_runtime::__private::capture(&name);));
    contains(&text, quote!(w.any();));
}

#[test]
fn every_mistake_is_reported_once() {
    let item = || {
        quote!(
            async fn get(db: &Db, user_id: u64, region: String) -> u64 {
                1
            }
        )
    };
    let one = |args: TokenStream| refused("cache_read", args, item());
    assert_eq!(
        one(quote!(key = "u:<usr_id>:<region>", skip(db))),
        ["key template names `usr_id`, but `get` has no such parameter"]
    );
    assert_eq!(one(quote!(key = "u:<user_id>", skip(db))), ["parameter `region` is in neither the key nor `skip(..)`"]);
    assert_eq!(
        one(quote!(key = "u:<result.id>", skip(db, user_id, region))),
        ["a key cannot mention `result`: a key exists before the call"]
    );
    assert_eq!(one(quote!(key = "u:<user_id>:<region>", tll = "5m", skip(db))), ["`cache_read` has no option `tll`"]);
    assert_eq!(
        one(quote!(key = auto, skip(db), ttl = "5mins")),
        ["`5mins` is not a duration: no unit is called `mins`"]
    );
    assert_eq!(one(quote!(key = auto, skip(db), ttl = "5m", ttl = "6m")), ["duplicate option `ttl`"]);
    assert_eq!(one(quote!(key = auto, skip(db), stale = "5m")), ["`stale` needs `ttl`"]);
    assert_eq!(one(quote!(skip(db))), ["`cache_read` needs a key"]);
    assert_eq!(one(quote!(key = "", skip(db))), ["empty template (key)"]);
    assert_eq!(
        one(quote!(key = "u:<user_id><region>", skip(db))),
        ["ambiguous template: two placeholders without a `:` between them (key)"]
    );
    assert_eq!(
        one(quote!(key = "u:<usr_id>", skip(db), tags = ["x:<regin>"], ttl = "0s")),
        [
            "a ttl of zero would store what is never served",
            "key template names `usr_id`, but `get` has no such parameter",
            "parameter `region` is in neither the key nor `skip(..)`",
            "tag template names `regin`, but `get` has no such parameter",
        ]
    );
    assert_eq!(
        refused(
            "cache_read",
            quote!(key = "x:<a>"),
            quote!(
                fn f(a: u64) -> u64 {
                    a
                }
            )
        ),
        ["`cache_read` needs an async function, and `f` is not one"]
    );
    assert_eq!(
        refused(
            "cache_write",
            quote!(tags = ["x:<result.id>"], fence = "1s"),
            quote!(
                async fn f(a: u64) -> u64 {
                    a
                }
            )
        ),
        ["a fenced tag cannot mention `result`: a fence is set before the call"]
    );
}

#[test]
fn the_function_survives_every_mistake() {
    let text = super::read(
        quote!(ky = 1),
        quote!(
            async fn get(id: u64) -> u64 {
                id
            }
        ),
        false,
    )
    .to_string();
    assert!(
        text.starts_with(
            &quote!(
                async fn get(id: u64) -> u64 {
                    id
                }
            )
            .to_string()
        ),
        "{text}"
    );
}

#[test]
fn verbs_are_there_although_the_attribute_is_wrong() {
    let text = super::read(
        quote!(key = "user:<usr_id>", skip(db)),
        quote!(
            pub async fn get_user(db: &Db, user_id: u64) -> Option<User> {
                None
            }
        ),
        false,
    )
    .to_string();
    contains(&text, quote!(pub async fn invalidate(user_id: u64)));
    contains(&text, quote!(pub async fn refresh(db: &Db, user_id: u64) -> Option<User>));
}

#[test]
fn values_that_a_body_may_take_are_kept_for_afterwards() {
    let text = expanded(
        "cache_write",
        quote!(tags = [labels(names)], recache = [get(db, names), find(&name)]),
        quote!(
            async fn write(db: &mut Db, names: Vec<String>, name: String, id: u64) -> Result<(), E> {
                Ok(())
            }
        ),
    );
    contains(&text, quote!(t.add(labels({ let argument = ::cache_runtime::__private::capture(&names); argument }));));
    contains(&text, quote!(let kept_names = ::cache_runtime::__private::capture(&names);));
    contains(&text, quote!(let kept_db = &mut *db;));
    contains(&text, quote!(get::refresh(db, names).await));
    contains(&text, quote!(find::refresh(&name).await));
}

#[test]
fn other_items_are_refused_and_kept() {
    assert_eq!(
        refused(
            "cache_read",
            quote!(key = "x"),
            quote!(
                struct A;
            )
        ),
        ["`cache_read` goes on a function"]
    );
    let text = super::read(
        quote!(key = "x"),
        quote!(
            struct A;
        ),
        false,
    )
    .to_string();
    assert!(text.starts_with("struct A ;"), "{text}");
}

#[test]
fn hostile_templates_do_not_panic() {
    for text in [
        "<r#self>",
        "<a.r#self>",
        "<a.crate>",
        "<a.99999999999>",
        "<99999999999999999999>",
        "<a\u{b2}>",
        "<a.b\u{b2}>",
        "<\u{202e}>",
        "<a:\u{e9}>",
        "\u{e9}<a>\u{e9}<a>",
        "<a.>",
        "<.a>",
        "<<<a>>>",
        "{<a>}",
        "\u{0}<a",
    ] {
        let _ = super::read(
            quote!(key = #text),
            quote!(
                async fn get(a: (u8,)) -> u64 {
                    1
                }
            ),
            false,
        );
        let _ = super::write(
            quote!(tags = [#text], patterns = [#text], put = #text),
            quote!(
                async fn get(a: (u8,)) -> u64 {
                    1
                }
            ),
        );
        let _ = crate::item::key::expand(quote!(#text));
        let _ = crate::item::resource::expand(quote!(pub r#type(#text, id: u64);));
    }
}

#[test]
fn hostile_options_do_not_panic() {
    for args in [
        quote!(key),
        quote!(= 1),
        quote!(key =),
        quote!(skip),
        quote!(skip(1)),
        quote!(each()),
        quote!(ttl = -1),
        quote!(ttl = 1.5, jitter = [], tags = {}),
        quote!(key = (), put),
        quote!(,),
        quote!(crate = 1),
        quote!(key = ("a", "<b"), resource = 1, key_with = |),
        quote!(r#key = "x"),
    ] {
        let item = quote!(
            async fn get(&self, Some(x): Option<u64>, _: (), ..: ()) -> u64 {
                1
            }
        );
        let _ = super::read(args.clone(), item.clone(), false);
        let _ = super::read(
            args.clone(),
            quote!(
                async fn get<'a, T: 'a, const N: usize>(
                    self: Box<Self>,
                    &(ref a, [b, ..]): &([u8; N], [T; 2]),
                ) -> Self::X {
                    1
                }
            ),
            true,
        );
        let _ = super::write(args, item);
    }
}
