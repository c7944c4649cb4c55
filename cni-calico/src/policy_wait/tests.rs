//! A stand-in for Felix writes files; the wait must tell the right one from every other.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

const LINK: &str = "cali18582a65b10";
const NAME: &str = "node--a1-k8s-cart--0-eth0";
const FILE: &str = "k8s shop%2Fcart-0 eth0";
const MAC: &str = "9a:4c:11:02:5e:d0";
const LONG: Duration = Duration::from_secs(60);

fn addresses() -> [IpAddr; 2] {
    ["10.65.14.7", "fd00:65::e07"].map(|text| text.parse().unwrap())
}

/// What Felix writes of the endpoint, changed.
fn status(change: impl FnOnce(&mut Value)) -> String {
    let mut status = json!({
        "ifaceName": LINK, "mac": MAC, "ipv4Nets": ["10.65.14.7/32"],
        "ipv6Nets": ["fd00:65::e07/128"], "bgpPeerName": "rack-7",
    });
    change(&mut status);
    status.to_string()
}

fn begin(folder: &Path, limit: Duration) -> PolicyWait {
    PolicyWait::begin(folder.to_str().unwrap(), limit, "shop", NAME).unwrap()
}

/// Waits while `felix` does its work.
fn wait(wait: &PolicyWait, felix: impl FnOnce() + Send) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(felix);
        let addresses = addresses();
        let mac = MAC.parse().unwrap();
        let expected = Programmed { host_link: LINK, mac, addresses: &addresses };
        runtime.block_on(wait.wait(expected, Deadline::after(LONG + LONG)))
    })
}

/// Whether a content is taken for this endpoint's.
fn is_mine(content: &str) -> bool {
    let addresses = addresses();
    let mac = MAC.parse().unwrap();
    is_about(content.as_bytes(), Programmed { host_link: LINK, mac, addresses: &addresses })
}

#[test]
fn a_file_that_comes_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let waiting = begin(folder.path(), LONG);
    assert!(wait(&waiting, || fs::write(path, status(|_| {})).unwrap()));
}

#[test]
fn a_file_that_is_renamed_into_place_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = begin(folder.path(), LONG);
    assert!(wait(&waiting, || {
        let aside = folder.path().join("aside");
        fs::write(&aside, status(|_| {})).unwrap();
        fs::rename(&aside, folder.path().join(FILE)).unwrap();
    }));
}

#[test]
fn a_folder_that_comes_later_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("calico/endpoint-status");
    let waiting = begin(&deep, LONG);
    assert!(wait(&waiting, || {
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("k8s shop%2Fother eth0"), status(|_| {})).unwrap();
        fs::write(deep.join(FILE), status(|_| {})).unwrap();
    }));
}

#[test]
fn a_folder_that_is_made_anew_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let status_dir = folder.path().join("endpoint-status");
    fs::create_dir(&status_dir).unwrap();
    let waiting = begin(&status_dir, LONG);
    assert!(wait(&waiting, || {
        for _ in 0..20 {
            fs::remove_dir(&status_dir).unwrap();
            fs::create_dir(&status_dir).unwrap();
        }
        fs::write(status_dir.join(FILE), status(|_| {})).unwrap();
    }));
}

#[test]
fn one_that_comes_before_the_wait_and_after_its_beginning_counts() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = begin(folder.path(), LONG);
    fs::write(folder.path().join(FILE), status(|_| {})).unwrap();
    assert!(wait(&waiting, || {}));
}

#[test]
fn fix_9_a_stale_file_does_not_count_until_it_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    // The same to the last byte: the pod has a MAC and an address of its own choice.
    fs::write(&path, status(|_| {})).unwrap();
    assert!(!wait(&begin(folder.path(), Duration::from_millis(50)), || {}));
    let waiting = begin(folder.path(), LONG);
    assert!(wait(&waiting, || {
        fs::remove_file(&path).unwrap();
        fs::write(&path, status(|_| {})).unwrap();
    }));
}

#[test]
fn fix_9_a_file_about_another_interface_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let waiting = begin(folder.path(), LONG);
    // What Felix still writes of the former sandbox, and then of this one.
    assert!(wait(&waiting, || {
        fs::write(&path, status(|status| status["mac"] = "9a:4c:11:02:5e:d1".into())).unwrap();
        fs::write(&path, status(|_| {})).unwrap();
    }));
    let waiting = begin(folder.path(), Duration::from_millis(50));
    let other = status(|status| status["ipv4Nets"] = json!(["10.65.14.8/32"]));
    assert!(!wait(&waiting, || fs::write(&path, other).unwrap()));
}

#[test]
fn an_older_felix_writes_nothing_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let waiting = begin(folder.path(), LONG);
    assert!(wait(&waiting, || fs::write(&path, "").unwrap()));
}

#[test]
fn files_of_other_pods_keep_nobody_from_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = begin(folder.path(), LONG);
    fs::write(folder.path().join(FILE), "").unwrap();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let other = folder.path().join("k8s shop%2Fother eth0");
        // As busy as can be.
        scope.spawn(move || {
            while is_done.try_recv().is_err() {
                fs::write(&other, "").unwrap();
            }
        });
        let came = wait(&waiting, || {});
        done.send(()).unwrap();
        assert!(came);
    });
}

#[test]
fn without_a_file_the_time_is_over_some_day() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!wait(&begin(folder.path(), Duration::from_millis(20)), || {}));
    // The verb's own end comes first, whatever the limit.
    let waiting = begin(folder.path(), Duration::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let expected = Programmed { host_link: LINK, mac: MAC.parse().unwrap(), addresses: &[] };
    let end = Deadline::after(RESERVE + Duration::from_millis(20));
    assert!(!runtime.block_on(waiting.wait(expected, end)));
}

#[test]
fn content_must_be_about_the_interface_and_all_its_addresses() {
    let changed = |name: &str, value: Value| status(|status| status[name] = value);
    assert!(is_mine(&status(|_| {})));
    assert!(is_mine(&changed("mac", json!(""))));
    assert!(is_mine(&changed("mac", json!("9A:4C:11:02:5E:D0"))));
    assert!(is_mine(&changed("ipv4Nets", json!(["10.65.14.8/32", "10.65.14.7"]))));
    assert!(is_mine(&changed("ipv6Nets", json!(["FD00:65:0::e07/128"]))));
    for wrong in [
        changed("ifaceName", json!("cali0d7763386da")),
        changed("ifaceName", json!(null)),
        changed("mac", json!("9a:4c:11:02:5e:d1")),
        changed("mac", json!("nonsense")),
        changed("ipv4Nets", json!([])),
        changed("ipv4Nets", json!(["10.65.14.0/24"])),
        changed("ipv6Nets", json!(["fd00:65::e08/128"])),
        "{}".into(),
        "null".into(),
        "{\"ifaceName\": \"cali18582a".into(),
        "up".into(),
    ] {
        assert!(!is_mine(&wrong), "{wrong}");
    }
}

#[test]
fn the_file_is_named_as_felix_names_it() {
    let waiting = begin(Path::new("/x"), LONG);
    assert_eq!(waiting.file, FILE);
    let waiting = PolicyWait::begin("", LONG, "shop", NAME).unwrap();
    assert_eq!(waiting.folder, Path::new("/var/run/calico/endpoint-status"));
    assert!(PolicyWait::begin("", LONG, "shop", "no-endpoint").is_err());
}

#[test]
fn whatever_stands_in_felix_file_is_read_or_passed_over() {
    let addresses = addresses();
    let expected = Programmed { host_link: LINK, mac: MAC.parse().unwrap(), addresses: &addresses };
    fuzz::run("felix-status", &[status(|_| {}).into_bytes()], |content| {
        if is_about(content, expected) {
            // It names the link and the addresses, wherever.
            let text = String::from_utf8_lossy(content);
            assert!(text.contains("cali") && text.contains("10.65.14.7"), "{text}");
        }
    });
}
