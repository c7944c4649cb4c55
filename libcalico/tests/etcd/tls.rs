//! TLS: the servers' certificates, ours, and what is said when one of them is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libcalico::config::{Secret, Settings};
use libcalico::store::{Change, StoreError, StoreErrorKind};
use tempfile::TempDir;

use crate::server::{Etcd, random_host};
use crate::{endpoints, first_error, handle, open, soon};

/// Two authorities, and certificates for clients.
struct Authority {
    dir: TempDir,
}

impl Authority {
    /// Made once for all tests: keys take their time.
    fn shared() -> &'static Authority {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        SHARED.get_or_init(|| {
            let made = Authority { dir: tempfile::tempdir().unwrap() };
            for name in ["ca", "other-ca"] {
                made.openssl(&format!(
                    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 \
                     -subj /CN={name} -keyout {name}.key -out {name}.crt"
                ));
            }
            made.issue("client", "ca", "DNS:client", VALID);
            made.issue("stranger", "other-ca", "DNS:client", VALID);
            made.issue("expired-client", "ca", "DNS:client", EXPIRED);
            made
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn text(&self, file: &str) -> String {
        self.path(file).to_str().unwrap().to_owned()
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(arguments.split_whitespace()).current_dir(self.dir.path());
        let output = output.output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {output:?}");
    }

    /// Makes `name.key` and `name.crt`, signed by `ca`.
    fn issue(&self, name: &str, ca: &str, san: &str, times: &str) {
        self.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} \
             -addext subjectAltName={san} -keyout {name}.key -out {name}.csr"
        ));
        std::fs::write(
            self.path(&format!("{name}.cnf")),
            format!(
                "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase={name}.txt\nserial={name}.srl\n\
                 default_md=sha256\npolicy=p\ncopy_extensions=copy\nx509_extensions=x\n\
                 unique_subject=no\n[p]\ncommonName=supplied\n\
                 [x]\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
            ),
        )
        .unwrap();
        std::fs::write(self.path(&format!("{name}.txt")), "").unwrap();
        std::fs::write(self.path(&format!("{name}.srl")), "01\n").unwrap();
        self.openssl(&format!(
            "ca -batch -notext -config {name}.cnf -cert {ca}.crt -keyfile {ca}.key {times} \
             -in {name}.csr -out {name}.crt"
        ));
    }

    /// An etcd with a certificate of its own; with `clients` it asks for theirs.
    fn server(&self, names_itself: bool, clients: bool, times: &str) -> Etcd {
        let host = random_host();
        let san = if names_itself { format!("IP:{host}") } else { "DNS:elsewhere.example".into() };
        self.issue(&host, "ca", &san, times);
        let mut extra = vec![
            format!("--cert-file={}", self.text(&format!("{host}.crt"))),
            format!("--key-file={}", self.text(&format!("{host}.key"))),
        ];
        if clients {
            extra.push("--client-cert-auth".into());
            extra.push(format!("--trusted-ca-file={}", self.text("ca.crt")));
        }
        Etcd::start_tls(&host, extra)
    }

    /// Settings with this authority's and this client's files.
    fn settings(&self, url: &str, ca: &str, client: Option<&str>) -> Settings {
        Settings {
            etcd_ca_cert_file: Some(self.text(&format!("{ca}.crt"))),
            etcd_cert_file: client.map(|name| self.text(&format!("{name}.crt"))),
            etcd_key_file: client.map(|name| self.text(&format!("{name}.key"))),
            ..endpoints(&[url])
        }
    }
}

const VALID: &str = "-days 5";
const EXPIRED: &str = "-startdate 20200101000000Z -enddate 20200102000000Z";

fn expect(error: &StoreError, kind: StoreErrorKind, texts: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    for text in texts {
        assert!(error.message.contains(text), "{text:?} isn't in: {error}");
    }
}

async fn works(settings: Settings) {
    let store = open(settings);
    let id = rand::random::<u64>().to_string();
    store.commit(&[Change::create(handle(&id), vec![])], soon()).await.unwrap();
}

#[tokio::test]
async fn client_certificates_open_from_files_and_from_text() {
    let authority = Authority::shared();
    let etcd = authority.server(true, true, VALID);
    works(authority.settings(&etcd.url(), "ca", Some("client"))).await;
    let read = |file: &str| std::fs::read_to_string(authority.path(file)).unwrap();
    let inline = Settings {
        etcd_ca_cert: Some(read("ca.crt")),
        etcd_cert: Some(read("client.crt")),
        etcd_key: Some(Secret::new(read("client.key"))),
        ..endpoints(&[&etcd.url()])
    };
    works(inline).await;
    // Several authorities in one file: any of them will do.
    let bundle = Settings {
        etcd_ca_cert: Some(read("other-ca.crt") + &read("ca.crt")),
        ..authority.settings(&etcd.url(), "ca", Some("client"))
    };
    works(Settings { etcd_ca_cert_file: None, ..bundle }).await;
}

#[tokio::test]
async fn a_refused_client_certificate_is_named() {
    use StoreErrorKind::Unauthorized;
    let authority = Authority::shared();
    let etcd = authority.server(true, true, VALID);
    let begin = Instant::now();
    let url = etcd.url();
    let error = first_error(authority.settings(&url, "ca", None)).await;
    expect(&error, Unauthorized, &[&url, "etcd_cert_file"]);
    for client in ["stranger", "expired-client"] {
        let error = first_error(authority.settings(&url, "ca", Some(client))).await;
        let file = authority.text(&format!("{client}.crt"));
        expect(&error, Unauthorized, &[&url, &file, "etcd_cert_file"]);
    }
    // A commit isn't in doubt: it never got in.
    let store = open(authority.settings(&url, "ca", Some("stranger")));
    let error = store.commit(&[Change::create(handle("a"), vec![])], soon()).await.unwrap_err();
    expect(&error, Unauthorized, &["etcd_cert_file"]);
    assert!(begin.elapsed() < Duration::from_secs(20), "long before the deadlines");
}

#[tokio::test]
async fn a_server_certificate_that_is_wrong_is_told_how() {
    use StoreErrorKind::Unauthorized;
    let authority = Authority::shared();
    let good = authority.server(true, false, VALID);
    works(authority.settings(&good.url(), "ca", None)).await;
    let error = first_error(authority.settings(&good.url(), "other-ca", None)).await;
    expect(&error, Unauthorized, &[&good.url(), "other-ca.crt", "etcd_ca_cert_file"]);

    let elsewhere = authority.server(false, false, VALID);
    let error = first_error(authority.settings(&elsewhere.url(), "ca", None)).await;
    expect(&error, Unauthorized, &[&elsewhere.url(), "isn't for", &elsewhere.host]);

    let expired = authority.server(true, false, EXPIRED);
    let error = first_error(authority.settings(&expired.url(), "ca", None)).await;
    expect(&error, Unauthorized, &[&expired.url(), "expired"]);
}

#[tokio::test]
async fn the_wrong_scheme_is_told() {
    let authority = Authority::shared();
    let secure = authority.server(true, false, VALID);
    let error = first_error(endpoints(&[&secure.url().replace("https", "http")])).await;
    expect(&error, StoreErrorKind::Unavailable, &["https://"]);
    let plain = Etcd::start();
    let url = plain.url().replace("http", "https");
    let error = first_error(authority.settings(&url, "ca", None)).await;
    expect(&error, StoreErrorKind::Unavailable, &[&url, "http://"]);
}

#[test]
fn files_that_are_wrong_are_named_with_their_field() {
    let authority = Authority::shared();
    let fine = || authority.settings("https://127.0.0.1:1", "ca", Some("client"));
    let garbage = authority.path("garbage.pem");
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nhunter2\n").unwrap();
    let garbage = || Some(garbage.to_str().unwrap().to_owned());
    let missing = || Some("/nonexistent/file.pem".to_owned());
    let key = || Some(authority.text("client.key"));
    let cases = [
        (
            Settings { etcd_ca_cert_file: missing(), ..fine() },
            ["etcd_ca_cert_file", "/nonexistent"],
        ),
        (Settings { etcd_cert_file: missing(), ..fine() }, ["etcd_cert_file", "/nonexistent"]),
        (Settings { etcd_key_file: missing(), ..fine() }, ["etcd_key_file", "/nonexistent"]),
        (Settings { etcd_ca_cert_file: garbage(), ..fine() }, ["etcd_ca_cert_file", "garbage"]),
        (Settings { etcd_ca_cert_file: key(), ..fine() }, ["etcd_ca_cert_file", "no PEM cert"]),
        (Settings { etcd_cert_file: garbage(), ..fine() }, ["etcd_cert_file", "garbage"]),
        (Settings { etcd_key_file: garbage(), ..fine() }, ["etcd_key_file", "garbage"]),
        (
            Settings { etcd_key_file: Some(authority.text("stranger.key")), ..fine() },
            ["etcd_key_file", "belong together"],
        ),
        (
            Settings {
                etcd_key_file: None,
                etcd_cert_file: None,
                etcd_cert: Some("junk".into()),
                etcd_key: Some(Secret::new("hunter2")),
                ..fine()
            },
            ["etcd_cert_file", "in the configuration"],
        ),
    ];
    for (settings, texts) in cases {
        let opened = settings.clone().resolve().unwrap().open();
        let error = opened.err().unwrap_or_else(|| panic!("opened with {settings:?}"));
        expect(&error, StoreErrorKind::Invalid, &texts);
        assert!(!error.message.contains("hunter2"), "{error}");
    }
    assert!(Path::new(&authority.text("client.crt")).exists());
}
