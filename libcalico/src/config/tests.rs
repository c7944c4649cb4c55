//! Settings: merging, checking, and that no message shows a secret.

use std::collections::HashMap;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Settings {
    let map: HashMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::from_env(|name| map.get(name).cloned())
}

fn endpoints(urls: &str) -> Settings {
    Settings { etcd_endpoints: Some(urls.to_owned()), ..Settings::default() }
}

fn etcd(settings: Settings) -> EtcdConfig {
    match settings.resolve().unwrap() {
        DatastoreConfig::Etcd(config) => config,
        #[cfg(feature = "local")]
        DatastoreConfig::Local(config) => panic!("{config:?}"),
    }
}

#[test]
fn the_prefixed_variable_wins_even_empty() {
    let both = env(&[("CALICO_ETCD_ENDPOINTS", "http://a"), ("ETCD_ENDPOINTS", "http://b")]);
    assert_eq!(both.etcd_endpoints.as_deref(), Some("http://a"));
    let plain = env(&[("ETCD_ENDPOINTS", "http://b"), ("ETCD_PASSWORD", "p")]);
    assert_eq!(plain.etcd_endpoints.as_deref(), Some("http://b"));
    assert_eq!(plain.etcd_password, Some(Secret::new("p")));
    let empty = env(&[("CALICO_ETCD_ENDPOINTS", ""), ("ETCD_ENDPOINTS", "http://b")]);
    assert_eq!(empty.etcd_endpoints.as_deref(), Some(""));
}

#[test]
fn explicit_settings_win_over_the_environment() {
    let ambient = env(&[
        ("DATASTORE_TYPE", "kubernetes"),
        ("ETCD_ENDPOINTS", "http://ambient:1"),
        ("ETCD_USERNAME", "ambient"),
        ("ETCD_PASSWORD", "ambient"),
        ("ETCD_CERT_FILE", "/ambient.crt"),
        ("ETCD_KEY_FILE", "/ambient.key"),
        ("ETCD_CA_CERT_FILE", "/ambient.ca"),
    ]);
    let explicit = Settings {
        etcd_key: Some(Secret::new("KEY")),
        etcd_cert: Some("CERT".into()),
        etcd_username: Some("mine".into()),
        ..endpoints("https://mine:2")
    };
    let merged = explicit.clone().or(ambient);
    assert_eq!(merged.etcd_endpoints, explicit.etcd_endpoints);
    // What belongs together comes from one side: no file beside the text, no foreign password.
    assert_eq!((&merged.etcd_cert_file, &merged.etcd_key_file), (&None, &None));
    assert_eq!((merged.etcd_username.as_deref(), &merged.etcd_password), (Some("mine"), &None));
    assert_eq!(merged.etcd_ca_cert_file.as_deref(), Some("/ambient.ca"));
    let config = etcd(merged);
    assert_eq!(config.endpoints[0].to_string(), "https://mine:2");
    assert_eq!(config.user, None);
}

#[test]
fn endpoints_are_urls_of_etcd() {
    let config =
        etcd(endpoints(" http://10.0.0.2 , http://[fd00::1]:1234/,http://etcd.example:1,"));
    let texts: Vec<_> = config.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["http://10.0.0.2:2379", "http://[fd00::1]:1234", "http://etcd.example:1"]);
    assert_eq!(config.endpoints[1].host(), "fd00::1");
    let wrong = [
        "10.0.0.2:2379",
        "ftp://a",
        "unix:///run/etcd",
        "http://",
        "http://a:b",
        "http://a:0",
        "http://a:70000",
        "http://a/path",
        "http://a?x",
        "http://u:p@a",
        "http://a b",
    ];
    for url in wrong {
        let error = endpoints(url).resolve().unwrap_err();
        assert!(matches!(error, ConfigError::Endpoint { .. }), "{url}: {error}");
        assert!(error.to_string().starts_with("etcd_endpoints: "), "{error}");
    }
    for secret in [
        "http://u:secret@a",
        "http://a,u:secret@b",
        "http:_/u:secret@a/ttp://u:secret@b",
        "http://u:sec,secret@a",
        "https://secret://secret@a",
        "secret://secret@a",
    ] {
        let error = endpoints(secret).resolve().unwrap_err().to_string();
        assert!(error.contains("etcd_username") && !error.contains("sec"), "{secret}: {error}");
    }
    for none in ["", " ", ","] {
        let settings = Settings { datastore_type: Some("etcdv3".into()), ..endpoints(none) };
        assert_eq!(settings.resolve().unwrap_err(), ConfigError::NoEndpoints, "{none:?}");
    }
}

#[test]
fn certificates_come_in_pairs_and_from_one_kind_of_place() {
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (
            Settings { etcd_cert_file: some("c"), ..endpoints("http://a") },
            ConfigError::Half { present: "etcd_cert_file", missing: "etcd_key_file" },
        ),
        (
            Settings { etcd_key: Some(Secret::new("k")), ..endpoints("http://a") },
            ConfigError::Half { present: "etcd_key", missing: "etcd_cert" },
        ),
        (
            Settings {
                etcd_cert_file: some("c"),
                etcd_key: Some(Secret::new("k")),
                ..endpoints("http://a")
            },
            ConfigError::Both { first: "etcd_cert_file", second: "etcd_key" },
        ),
        (
            Settings {
                etcd_ca_cert_file: some("c"),
                etcd_ca_cert: some("c"),
                ..endpoints("http://a")
            },
            ConfigError::Both { first: "etcd_ca_cert_file", second: "etcd_ca_cert" },
        ),
        (
            Settings { etcd_discovery_srv: some("example.com"), ..endpoints("http://a") },
            ConfigError::Both { first: "etcd_endpoints", second: "etcd_discovery_srv" },
        ),
        (
            Settings { etcd_discovery_srv: some("example.com"), ..Settings::default() },
            ConfigError::Discovery { domain: "example.com".into() },
        ),
        (endpoints("https://a"), ConfigError::NoAuthority { url: "https://a:2379".into() }),
        (
            Settings { datastore_type: some("kubernetes"), ..Settings::default() },
            ConfigError::Type { value: "kubernetes".into() },
        ),
    ];
    for (settings, error) in cases {
        assert_eq!(settings.clone().resolve().unwrap_err(), error, "{settings:?}");
    }
}

#[test]
#[cfg(feature = "local")]
fn nothing_set_means_the_local_store() {
    let local = |settings: Settings| match settings.resolve().unwrap() {
        DatastoreConfig::Local(config) => config.path,
        DatastoreConfig::Etcd(config) => panic!("{config:?}"),
    };
    assert_eq!(local(Settings::default()), PathBuf::from(DEFAULT_LOCAL_PATH));
    // Named explicitly it stays local, whatever endpoints the environment holds.
    let named = Settings {
        datastore_type: Some("local".into()),
        local_path: Some("/x.db".into()),
        ..Settings::default()
    };
    assert_eq!(local(named.or(endpoints("http://a"))), PathBuf::from("/x.db"));
    // A file alone says it too.
    let file = Settings { local_path: Some("/y.db".into()), ..Settings::default() };
    assert_eq!(local(file.or(endpoints("http://a"))), PathBuf::from("/y.db"));
}

#[test]
fn no_text_shows_a_secret() {
    let settings = Settings {
        etcd_username: Some("root".into()),
        etcd_password: Some(Secret::new("hunter2")),
        etcd_key: Some(Secret::new("hunter2")),
        etcd_cert: Some("cert".into()),
        ..endpoints("http://a")
    };
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(!format!("{:?}", etcd(settings)).contains("hunter2"));
    for url in
        ["http://root:hunter2@a", "root:hunter2@a", "ftp://root:hun@ter2@a", "http://r:hunter2@"]
    {
        let error = endpoints(url).resolve().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("ter2"), "{error:?}");
    }
}
