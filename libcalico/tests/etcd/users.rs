//! Users and passwords.

use libcalico::config::{Secret, Settings};
use libcalico::store::{Change, Query, StoreErrorKind};

use crate::server::Etcd;
use crate::{endpoints, first_error, handle, open, soon};

fn user(etcd: &Etcd, name: &str, password: &str) -> Settings {
    Settings {
        etcd_username: Some(name.to_owned()),
        etcd_password: Some(Secret::new(password)),
        ..endpoints(&[&etcd.url()])
    }
}

/// An etcd with authentication: `root`, and `node`, who may only touch the handles.
fn with_users() -> Etcd {
    let etcd = Etcd::start();
    etcd.ctl(&["user", "add", "root:hunter2"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["role", "add", "node"]);
    etcd.ctl(&[
        "role",
        "grant-permission",
        "node",
        "--prefix=true",
        "readwrite",
        "/calico/ipam/v2/handle/",
    ]);
    etcd.ctl(&["user", "add", "node:swordfish"]);
    etcd.ctl(&["user", "grant-role", "node", "node"]);
    etcd.ctl(&["auth", "enable"]);
    etcd
}

#[tokio::test]
async fn the_right_password_opens_and_others_are_told_apart() {
    let etcd = with_users();
    let store = open(user(&etcd, "node", "swordfish"));
    store.commit(&[Change::create(handle("a"), b"1".to_vec())], soon()).await.unwrap();
    let found = store.read(&[Query::Key(handle("a"))], soon()).await.unwrap();
    assert_eq!(found.results[0][0].value, b"1");

    let forbidden = Query::Key(libcalico::store::Key::IpamConfig);
    let error = store.read(&[forbidden], soon()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unauthorized);
    assert!(error.message.contains("\"node\"") && error.message.contains("permission"), "{error}");
    let change = Change::create(libcalico::store::Key::IpamConfig, vec![]);
    let error = store.commit(&[change], soon()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unauthorized, "{error}");

    let error = first_error(user(&etcd, "node", "hunter3")).await;
    assert_eq!(error.kind, StoreErrorKind::Unauthorized);
    let says = |text: &str| error.message.contains(text);
    assert!(says(&etcd.url()) && says("\"node\"") && says("etcd_password"), "{error}");
    assert!(!says("hunter3"), "{error}");

    let error = first_error(user(&etcd, "nobody", "hunter2")).await;
    assert_eq!(error.kind, StoreErrorKind::Unauthorized, "{error}");

    let anonymous = open(endpoints(&[&etcd.url()]));
    let error = anonymous.read(&[Query::Key(handle("a"))], soon()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unauthorized);
    assert!(error.message.contains("etcd_username"), "{error}");
}

#[tokio::test]
async fn a_user_does_no_harm_where_none_is_asked_for() {
    let etcd = Etcd::start();
    let store = open(user(&etcd, "node", "swordfish"));
    store.commit(&[Change::create(handle("a"), vec![])], soon()).await.unwrap();
}
