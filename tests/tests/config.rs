//! Settings: what is read from where, what wins, what is refused and how; and that no text shows a password.

use std::collections::HashMap;
use std::time::Duration;

use cache_runtime::{Backend, BackendKind, CacheConfig, Endpoint, Engine, ErrorKind, RedisConfig, Resolved, Topology};
use proptest::prelude::*;

fn env(vars: &[(&str, &str)]) -> Result<CacheConfig, cache_runtime::Error> {
    let vars: HashMap<String, String> = vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    CacheConfig::from_env_with(|name| vars.get(name).cloned())
}

fn resolved(vars: &[(&str, &str)]) -> Resolved {
    env(vars).and_then(CacheConfig::resolve).unwrap_or_else(|error| panic!("{vars:?}: {error}"))
}

#[test]
fn with_nothing_set_it_is_memory_with_the_documented_defaults() {
    let config = resolved(&[]);
    assert_eq!(config, CacheConfig::default().resolve().expect("defaults are fine"));
    assert_eq!(config.backend, Backend::Memory);
    assert_eq!((config.prefix.as_str(), config.version.as_str(), config.namespace), ("svc", "v1", None));
    assert_eq!([config.ttl_short, config.ttl_default, config.ttl_long].map(|ttl| ttl.as_secs()), [30, 300, 3600]);
    assert_eq!((config.max_items, config.max_bytes, config.pool_size), (10_000, None, None));
    assert!(config.enabled && config.stats && !config.enforce_tenant_isolation);
    assert_eq!(config.engine, Engine::QuickCache);
}

#[test]
fn every_variable_is_read() {
    let config = resolved(&[
        ("CACHE_URL", "rediss://u:p@h:1/2"),
        ("CACHE_BACKEND", "hybrid"),
        ("CACHE_PREFIX", "shop"),
        ("CACHE_VERSION", "v2"),
        ("CACHE_NAMESPACE", "team:7"),
        ("CACHE_TTL_SHORT", "250ms"),
        ("CACHE_TTL_DEFAULT", "1h30m"),
        ("CACHE_TTL_LONG", "86400"),
        ("CACHE_MAX_ITEMS", "5"),
        ("CACHE_MAX_BYTES", "64MB"),
        ("CACHE_ENABLED", "false"),
        ("CACHE_STATS", "off"),
        ("ENFORCE_TENANT_ISOLATION", "1"),
        ("REDIS_POOL_SIZE", "8"),
        ("CACHE_CONNECT_TIMEOUT", "2s"),
        ("CACHE_RESPONSE_TIMEOUT", "100ms"),
        ("CACHE_TLS_CA", "/a/ca.pem"),
        ("CACHE_TLS_CERT", "/a/cert.pem"),
        ("CACHE_TLS_KEY", "/a/key.pem"),
    ]);
    assert_eq!(config.backend.to_string(), "hybrid+rediss://u:***@h:1/2");
    let timeouts = (config.connect_timeout.as_millis(), config.response_timeout.as_millis());
    assert_eq!(timeouts, (2_000, 100));
    let files = [config.tls.ca, config.tls.cert, config.tls.key].map(|file| file.expect("set").display().to_string());
    assert_eq!(files, ["/a/ca.pem", "/a/cert.pem", "/a/key.pem"]);
    assert_eq!((config.prefix.as_str(), config.version.as_str()), ("shop", "v2"));
    assert_eq!(config.namespace.as_deref(), Some("team:7"));
    assert_eq!(config.ttl_short, Duration::from_millis(250));
    assert_eq!(config.ttl_default, Duration::from_secs(5400));
    assert_eq!(config.ttl_long, Duration::from_secs(86_400));
    assert_eq!((config.max_items, config.max_bytes, config.pool_size), (5, Some(64_000_000), Some(8)));
    assert!(!config.enabled && !config.stats && config.enforce_tenant_isolation);
}

#[test]
fn aliases_are_read_in_their_order() {
    assert_eq!(resolved(&[("CACHE_KEY_PREFIX", "a")]).prefix, "a");
    assert_eq!(resolved(&[("CACHE_KEY_PREFIX", "a"), ("CACHE_PREFIX", "b")]).prefix, "b");
    let ttl = |vars: &[(&str, &str)]| resolved(vars).ttl_default.as_secs();
    assert_eq!(ttl(&[("REDIS_DEFAULT_TTL", "1")]), 1);
    assert_eq!(ttl(&[("REDIS_DEFAULT_TTL", "1"), ("CACHE_DEFAULT_TTL", "2")]), 2);
    assert_eq!(ttl(&[("REDIS_DEFAULT_TTL", "1"), ("CACHE_DEFAULT_TTL", "2"), ("CACHE_TTL_DEFAULT", "3")]), 3);
    let url = |vars: &[(&str, &str)]| resolved(vars).backend.to_string();
    assert_eq!(url(&[("REDIS_URL", "redis://b")]), "redis://b:6379/0");
    assert_eq!(url(&[("REDIS_URL", "redis://b"), ("CACHE_URL", "mem://")]), "mem://");
}

#[test]
fn redis_in_parts_is_used_when_no_url_is_set() {
    let parts = [
        ("REDIS_HOST", "h"),
        ("REDIS_PORT", "7000"),
        ("REDIS_DB", "3"),
        ("REDIS_USERNAME", "u"),
        ("REDIS_PASSWORD", "p%/@"),
    ];
    let Backend::Redis(server) = resolved(&parts).backend else { panic!("not Redis") };
    assert_eq!(server.topology, Topology::Standalone(Endpoint { host: "h".into(), port: 7000 }));
    assert_eq!((server.database, server.username.as_deref(), server.tls), (3, Some("u"), false));
    assert_eq!(server.password.as_ref().map(|password| password.expose()), Some("p%/@"));

    assert_eq!(resolved(&[("REDIS_HOST", "::1")]).backend.to_string(), "redis://[::1]:6379/0");
    assert_eq!(resolved(&[("CACHE_BACKEND", "redis")]).backend.to_string(), "redis://localhost:6379/0");
    assert_eq!(resolved(&[("CACHE_BACKEND", "memory"), parts[0]]).backend, Backend::Memory);
    assert_eq!(resolved(&[("CACHE_URL", "mem://"), ("REDIS_PORT", "tcp://10.0.0.1:6379")]).backend, Backend::Memory);
    assert_eq!(resolved(&[("REDIS_PASSWORD", "")]).backend, Backend::Memory);
}

#[test]
fn a_variable_that_does_not_parse_is_an_error_that_names_it() {
    for (name, value, part) in [
        ("CACHE_URL", "", "set to nothing"),
        ("CACHE_URL", "localhost:6379", "no scheme"),
        ("REDIS_URL", "http://localhost", "scheme"),
        ("CACHE_BACKEND", "memcached", "`memory`, `redis` or `hybrid`"),
        ("CACHE_PREFIX", "", "set to nothing"),
        ("CACHE_PREFIX", "a*", "'*'"),
        ("CACHE_PREFIX", "a b", "' '"),
        ("CACHE_PREFIX", ":", "empty"),
        ("CACHE_PREFIX", "a::b", "empty segment"),
        ("CACHE_PREFIX", "a:tenant-b", "tenant-"),
        ("CACHE_KEY_PREFIX", "a%", "'%'"),
        ("CACHE_VERSION", "v:1", "`:`"),
        ("CACHE_VERSION", "{v}", "'{'"),
        ("CACHE_NAMESPACE", "a\n", "'\\n'"),
        ("CACHE_TTL_SHORT", "5mins", "`mins` is not a unit"),
        ("CACHE_TTL_SHORT", "0", "ttl of 0"),
        ("CACHE_TTL_DEFAULT", "-1", "does not begin with a digit"),
        ("CACHE_DEFAULT_TTL", "99999999999999999999", "too long"),
        ("REDIS_DEFAULT_TTL", "36501d", "100 years"),
        ("CACHE_TTL_LONG", "1.5h", "`1h30m`"),
        ("CACHE_MAX_ITEMS", "0", "0 is not allowed"),
        ("CACHE_MAX_ITEMS", "-5", "`-5` is not a whole number"),
        ("CACHE_MAX_ITEMS", "+5", "`+5` is not a whole number"),
        ("CACHE_MAX_ITEMS", "99999999999999999999", "too large"),
        ("CACHE_MAX_BYTES", "64M", "`64MB`"),
        ("CACHE_MAX_BYTES", "0KB", "0 is not allowed"),
        ("CACHE_ENABLED", "maybe", "neither `true` nor `false`"),
        ("CACHE_STATS", "2", "neither `true` nor `false`"),
        ("ENFORCE_TENANT_ISOLATION", "", "set to nothing"),
        ("REDIS_POOL_SIZE", "0", "0 is not allowed"),
        ("CACHE_CONNECT_TIMEOUT", "0", "timeout of 0"),
        ("CACHE_RESPONSE_TIMEOUT", "1h", "10 minutes"),
        ("CACHE_RESPONSE_TIMEOUT", "fast", "digit"),
        ("CACHE_TLS_CA", "", "set to nothing"),
        ("REDIS_HOST", "a/b", "host"),
        ("REDIS_HOST", "10.0.0", "host"),
        ("REDIS_PORT", "0", "1 to 65535"),
        ("REDIS_PORT", "65536", "1 to 65535"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "Kubernetes"),
        ("REDIS_DB", "x", "`x` is not a whole number"),
    ] {
        let error = env(&[(name, value)]).expect_err(&format!("{name}={value}"));
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.starts_with(name) && text.contains(part), "{name}={value}: {text}");
    }
    let long = "x".repeat(65);
    assert!(
        env(&[("CACHE_PREFIX", &long)]).expect_err("too long").to_string().contains("65 characters; the limit is 64")
    );
}

#[test]
fn a_field_that_cannot_be_used_is_an_error_that_names_it() {
    let base = CacheConfig::default;
    for (config, part) in [
        (CacheConfig { url: Some("redis://".into()), ..base() }, "url: the host is missing"),
        (
            CacheConfig { url: Some("mem://".into()), backend: Some(BackendKind::Hybrid), ..base() },
            "backend is `hybrid`",
        ),
        (CacheConfig { prefix: Some(String::new()), ..base() }, "prefix: cannot be empty"),
        (CacheConfig { version: Some("a?".into()), ..base() }, "version: cannot contain '?'"),
        (CacheConfig { namespace: Some(String::new()), ..base() }, "namespace: cannot be empty"),
        (CacheConfig { ttl_short: Some(Duration::ZERO), ..base() }, "ttl_short: a ttl of 0"),
        (CacheConfig { ttl_default: Some(Duration::MAX), ..base() }, "ttl_default: the ttl is longer"),
        (CacheConfig { ttl_long: Some(Duration::MAX), ..base() }, "ttl_long: the ttl is longer"),
        (CacheConfig { max_items: Some(0), ..base() }, "max_items: 0"),
        (CacheConfig { max_bytes: Some(0), ..base() }, "max_bytes: 0"),
        (CacheConfig { pool_size: Some(0), ..base() }, "pool_size: 0"),
        (CacheConfig { connect_timeout: Some(Duration::ZERO), ..base() }, "connect_timeout: a timeout of 0"),
        (CacheConfig { response_timeout: Some(Duration::MAX), ..base() }, "response_timeout: the timeout is longer"),
        (CacheConfig { tls_ca: Some("ca.pem".into()), ..base() }, "tls_ca: the connection is not encrypted"),
        (
            CacheConfig { url: Some("redis://h".into()), tls_key: Some("key.pem".into()), ..base() },
            "tls_key: the connection is not encrypted",
        ),
        (
            CacheConfig { redis: RedisConfig { host: Some("a b".into()), ..Default::default() }, ..base() },
            "redis.host: the host",
        ),
        (CacheConfig { redis: RedisConfig { port: Some(0), ..Default::default() }, ..base() }, "redis.port: the port"),
        (
            CacheConfig { redis: RedisConfig { username: Some("u".into()), ..Default::default() }, ..base() },
            "redis.username: ",
        ),
    ] {
        let error = config.resolve().expect_err(part);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with(part), "{part}: {error}");
    }
}

#[test]
fn code_wins_over_the_environment_and_that_over_the_file() {
    let file = CacheConfig {
        prefix: Some("file".into()),
        version: Some("file".into()),
        max_items: Some(1),
        stats: Some(false),
        ..CacheConfig::default()
    };
    let environment = env(&[("CACHE_PREFIX", "env"), ("CACHE_VERSION", "env"), ("CACHE_STATS", "true")]).expect("fine");
    let code = CacheConfig { prefix: Some("code".into()), ..CacheConfig::default() };
    let config = code.or(environment).or(file).resolve().expect("fine");
    assert_eq!(
        (config.prefix.as_str(), config.version.as_str(), config.max_items, config.stats),
        ("code", "env", 1, true)
    );
    assert_eq!(config.ttl_short.as_secs(), 30);
}

#[test]
fn the_nested_section_of_a_higher_layer_wins_over_a_lower_layers_field() {
    let nested = RedisConfig {
        key_prefix: Some("nested:".into()),
        default_ttl: Some(Duration::from_secs(7)),
        max_connections: Some(7),
        ..RedisConfig::default()
    };
    let high = CacheConfig { redis: nested, ..CacheConfig::default() };
    let low = CacheConfig {
        prefix: Some("low".into()),
        ttl_default: Some(Duration::from_secs(1)),
        pool_size: Some(1),
        ..CacheConfig::default()
    };
    let config = high.clone().or(low.clone()).resolve().expect("fine");
    assert_eq!((config.prefix.as_str(), config.ttl_default.as_secs(), config.pool_size), ("nested", 7, Some(7)));
    assert_eq!(config.backend, Backend::Memory);
    let config = low.or(high).resolve().expect("fine");
    assert_eq!((config.prefix.as_str(), config.ttl_default.as_secs(), config.pool_size), ("low", 1, Some(1)));
}

#[test]
fn backend_and_url_go_together() {
    let backend = |url: &str, kind| {
        let config = CacheConfig { url: Some(url.into()), backend: kind, ..CacheConfig::default() };
        config.resolve().map(|config| config.backend.to_string()).map_err(|error| error.to_string())
    };
    assert_eq!(backend("redis://h", Some(BackendKind::Hybrid)).as_deref(), Ok("hybrid+redis://h:6379/0"));
    assert_eq!(backend("hybrid+redis://h", None).as_deref(), Ok("hybrid+redis://h:6379/0"));
    assert_eq!(backend("hybrid+redis://h", Some(BackendKind::Redis)).as_deref(), Ok("redis://h:6379/0"));
    assert_eq!(backend("redis://h", Some(BackendKind::Memory)).as_deref(), Ok("mem://"));
    assert!(backend("mem://", Some(BackendKind::Redis)).is_err());
    // A URL of memory on top sets a lower layer's backend aside.
    let file = CacheConfig { backend: Some(BackendKind::Redis), ..CacheConfig::default() };
    let config = env(&[("CACHE_URL", "mem://")]).expect("fine").or(file).resolve().expect("fine");
    assert_eq!(config.backend, Backend::Memory);
}

#[test]
fn urls_that_can_be_read() {
    for (url, expected) in [
        ("mem://", "mem://"),
        ("memory://", "mem://"),
        ("redis://localhost", "redis://localhost:6379/0"),
        ("REDIS://localhost/", "redis://localhost:6379/0"),
        ("redis://localhost:6380/15", "redis://localhost:6380/15"),
        ("rediss://:pw@h/1", "rediss://:***@h:6379/1"),
        ("valkey://u:p@h", "redis://u:***@h:6379/0"),
        ("valkeys://h", "rediss://h:6379/0"),
        ("redis://[::1]", "redis://[::1]:6379/0"),
        ("redis://[::1]:1/2", "redis://[::1]:1/2"),
        ("redis://u:a@b@h", "redis://u:***@h:6379/0"),
        ("redis+cluster://h1:6379,h2:6380", "redis+cluster://h1:6379,h2:6380"),
        ("redis+cluster://h1", "redis+cluster://h1:6379"),
        ("rediss+cluster://u:p@h1,h2", "rediss+cluster://u:***@h1:6379,h2:6379"),
        ("redis://h1,h2/0", "redis+cluster://h1:6379,h2:6379"),
        ("redis+sentinel://h1:26379,h2/mymaster/0", "redis+sentinel://h1:26379,h2:26379/mymaster/0"),
        ("redis+sentinel://:p@h1/mymaster", "redis+sentinel://:***@h1:26379/mymaster/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("unix://u:p@/run/redis.sock?db=3", "unix://u:***@/run/redis.sock?db=3"),
        ("hybrid+rediss://h", "hybrid+rediss://h:6379/0"),
        ("hybrid+unix:///s", "hybrid+unix:///s?db=0"),
        ("hybrid+redis+sentinel://h/m", "hybrid+redis+sentinel://h:26379/m/0"),
    ] {
        let backend: Backend = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(backend.to_string(), expected, "{url}");
    }
}

/// A cache that is taken off its server for a while keeps what was said of the server.
#[test]
fn files_of_an_encrypted_connection_do_not_contradict_an_explicit_memory() {
    let config =
        env(&[("CACHE_BACKEND", "memory"), ("CACHE_TLS_CA", "ca.pem")]).expect("fine").resolve().expect("fine");
    assert_eq!(config.backend, Backend::Memory);
}

#[test]
fn user_names_and_passwords_are_percent_decoded() {
    let Ok(Backend::Redis(server)) = "redis://%75%40:%3A%2f%25é@h".parse() else { panic!("not read") };
    assert_eq!(server.username.as_deref(), Some("u@"));
    assert_eq!(server.password.as_ref().map(|password| password.expose()), Some(":/%é"));
}

#[test]
fn urls_that_cannot_are_refused_with_the_part() {
    for (url, part) in [
        ("", "empty"),
        ("redis", "no scheme"),
        ("redis:/h", "no scheme"),
        ("redsi://h", "scheme of the URL is not known"),
        ("hybrid+mem://", "needs a Redis URL"),
        ("hybrid+hybrid+redis://h", "scheme"),
        ("mem://x", "nothing after the scheme"),
        ("redis://", "host is missing"),
        ("redis:///0", "host is missing"),
        ("redis://h1,", "host is missing"),
        ("redis://h:", "port"),
        ("redis://h:x", "port"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://::1", "IPv6"),
        ("redis://[::1", "host has `[`"),
        ("redis://[x]", "IPv6"),
        ("redis://[::1]x", "between `]` and `:`"),
        ("redis://h h", "space"),
        ("redis://h\n", "control"),
        ("redis://h_ö", "host is not a name"),
        ("redis://1.2.3", "host is not a name"),
        ("redis://h/x", "database is not a number"),
        ("redis://h/-1", "database is not a number"),
        ("redis://h/99999999999", "database number is too large"),
        ("redis://h/0/1", "more in it than the database"),
        ("redis://h?x=1", "query"),
        ("redis://h#x", "fragment"),
        ("redis://u@h", "no password"),
        ("redis://u:@h", "password is empty"),
        ("redis://u:%@h", "password has a `%`"),
        ("redis://%zz:p@h", "user name has a `%`"),
        ("redis://u:%FF@h", "password is not UTF-8"),
        ("redis://u:p/w@h", "%2F"),
        ("redis+cluster://h/1", "database of a cluster"),
        ("redis://h1,h2/1", "database of a cluster"),
        ("redis+sentinel://h", "master name is missing"),
        ("redis+sentinel://h/m/x", "database is not a number"),
        ("unix://", "must be absolute"),
        ("unix://run/redis.sock", "must be absolute"),
        ("unix:///", "path of the socket is missing"),
        ("unix:///s?x=1", "query parameter"),
        ("unix:///s?db=x", "database is not a number"),
    ] {
        let error = url.parse::<Backend>().expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(part), "{url}: {error}");
    }
}

#[test]
fn files_are_read_in_json_and_toml_and_as_the_origins_wrote_them() {
    let json: CacheConfig = serde_json::from_str(
        r#"{ "url": "redis://h", "ttl_short": 15, "ttl_default": "10m", "ttl_long": null, "max_bytes": "1KiB", "engine": "moka",
             "backend": "hybrid", "enabled": true, "pool_size": 4, "max_items": 7 }"#,
    )
    .expect("fine");
    let toml: CacheConfig = toml::from_str(
        "url = 'redis://h'\nttl_short = 15\nttl_default = '10m'\nmax_bytes = 1024\nengine = 'moka'\nbackend = 'hybrid'\n\
         enabled = true\npool_size = 4\nmax_items = 7",
    )
    .expect("fine");
    assert_eq!(json, toml);
    assert_eq!(
        (json.ttl_short, json.max_bytes, json.engine),
        (Some(Duration::from_secs(15)), Some(1024), Some(Engine::Moka))
    );

    let origin: CacheConfig = serde_json::from_str(
        r#"{ "redis": { "enabled": true, "host": "localhost", "port": 6379, "db": 0, "password": null, "max_connections": 50,
                        "default_ttl": 3600, "key_prefix": "xcore:" } }"#,
    )
    .expect("fine");
    let config = origin.clone().resolve().expect("fine");
    assert_eq!(config.backend.to_string(), "redis://localhost:6379/0");
    assert_eq!((config.prefix.as_str(), config.ttl_default.as_secs(), config.pool_size), ("xcore", 3600, Some(50)));
    let off = CacheConfig { redis: RedisConfig { enabled: Some(false), ..origin.redis.clone() }, ..origin };
    assert_eq!(off.resolve().expect("fine").backend, Backend::Memory);
}

#[test]
fn files_with_a_bad_field_are_refused() {
    for (json, part) in [
        (r#"{ "ttl": 5 }"#, "unknown field `ttl`"),
        (r#"{ "redis": { "hots": "h" } }"#, "unknown field `hots`"),
        (r#"{ "ttl_short": "5mins" }"#, "`mins` is not a unit"),
        (r#"{ "ttl_short": -1 }"#, "-1"),
        (r#"{ "ttl_short": 1.5 }"#, "1.5"),
        (r#"{ "max_bytes": "64M" }"#, "`M` is not a unit"),
        (r#"{ "engine": "redis" }"#, "quick_cache"),
        (r#"{ "backend": "disk" }"#, "unknown variant"),
        (r#"{ "enabled": "maybe" }"#, "expected a boolean"),
    ] {
        let error = serde_json::from_str::<CacheConfig>(json).expect_err(json).to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
}

/// Long and odd enough to be found in no message by chance; with what ends a part of a URL too early.
fn password() -> impl Strategy<Value = String> {
    ("[a-zA-Z0-9]{3}", "[:/?#@%\\[\\], é.-]{0,3}", "[a-zA-Z0-9]{3}").prop_map(|(a, b, c)| format!("Zq{a}{b}{c}Xj"))
}

/// The password, what is left of it where it was cut, and what it becomes when decoded.
fn shows(text: &str, password: &str) -> bool {
    let pieces = password.split([':', '/', '?', '#', '@', '%', '[', ']', ',', ' ', '.', '-', 'é']);
    text.contains(password) || pieces.into_iter().any(|piece| piece.len() >= 3 && text.contains(piece))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_shows_a_password(
        scheme in prop::sample::select(vec![
            "redis", "rediss", "valkey", "redis+cluster", "redis+sentinel", "unix", "hybrid+redis", "mem", "http", "hybrid+mem", "",
        ]),
        user in prop::sample::select(vec!["", "u"]),
        password in password(),
        tail in prop::sample::select(vec!["@h", "@h:1/0", "@", "@h:x", "@h/x", "@h1,h2/3", "@h/m/0", "@/run/s", "@/run/s?db=x"]),
    ) {
        let url = format!("{scheme}://{user}:{password}{tail}");
        let config = CacheConfig { url: Some(url.clone()), ..CacheConfig::default() };
        let mut texts = vec![format!("{config:?}")];
        match config.resolve() {
            Ok(config) => texts.extend([format!("{config:?}"), config.backend.to_string()]),
            Err(error) => texts.extend([format!("{error:?}"), error.to_string()]),
        }
        for name in ["CACHE_URL", "REDIS_URL"] {
            match env(&[(name, &url)]) {
                Ok(config) => texts.push(format!("{config:?}")),
                Err(error) => texts.extend([format!("{error:?}"), error.to_string()]),
            }
        }
        for vars in [[("REDIS_PASSWORD", password.as_str()), ("REDIS_PORT", "x")], [("REDIS_PASSWORD", &password), ("REDIS_HOST", "h")]] {
            match env(&vars) {
                Ok(config) => texts.extend([format!("{config:?}"), format!("{:?}", config.resolve())]),
                Err(error) => texts.extend([format!("{error:?}"), error.to_string()]),
            }
        }
        for json in [format!("{{\"redis\":{{\"password\":[{password:?}]}}}}"), format!("{{\"redis\":{{\"password\":{{{password:?}:1}}}}}}")] {
            if let Err(error) = serde_json::from_str::<CacheConfig>(&json) {
                texts.push(error.to_string());
            }
        }
        for text in texts {
            prop_assert!(!shows(&text, &password), "{}", text);
        }
    }

    #[test]
    fn no_url_makes_the_parser_panic(url in "(hybrid\\+)?(redis|unix|mem|redis\\+sentinel)://[a-z0-9:/?#@%,=\\[\\].é-]{0,20}") {
        let _ = url.parse::<Backend>().map(|backend| backend.to_string());
    }
}
