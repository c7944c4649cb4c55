//! Bad input of every kind: exit status other than 0, one error object that names the field and the
//! value, within bounded time, and nothing left behind.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Before, Call, Etcd, Network, Pod, Stores, objects, scene};

/// The longest that any refusal may take: a silent store's deadline with some slack.
const BOUND: Duration = Duration::from_secs(20);

/// A network with a pod for the calls, and what there was before them.
struct Stage {
    network: Network,
    pod: Pod,
    before: Before,
}

impl Stage {
    fn new(network: Network) -> Result<Stage> {
        let pod = network.host().pod("p1")?;
        // What stays for good, like a local store and a profile, is there before the picture.
        let call = network.call("ADD")?.pod(&pod);
        call.result()?;
        call.verb("DEL").done()?;
        let before = network.before()?;
        Ok(Stage { network, pod, before })
    }

    /// A good ADD, which a case then spoils.
    fn add(&self) -> Result<Call> {
        Ok(self.network.call("ADD")?.container("bad-1").pod(&self.pod).limit(BOUND))
    }

    /// A good ADD but for one member of the configuration.
    fn with(&self, pointer: &str, value: Value) -> Result<Call> {
        let mut config = self.network.config()?;
        set(&mut config, pointer, value);
        Ok(self.add()?.config(&config))
    }

    /// The call is refused with one of these codes and all of these words, and leaves nothing.
    fn refused(&self, call: &Call, codes: &[u64], words: &[&str]) -> Result<()> {
        let (code, message) = call.error()?;
        ensure!(codes.contains(&code), "code {code}, not one of {codes:?}: {message}");
        for word in words {
            ensure!(message.contains(word), "{word:?} is not in {message:?}");
        }
        self.before.nothing_left().with_context(|| message.clone())?;
        let links = self.pod.ip("link")?;
        ensure!(links.as_array().is_some_and(|links| links.len() == 1), "left in pod: {links}");
        Ok(())
    }
}

/// Sets a member by its path, `ipam/type`, with the objects above it.
fn set(config: &mut Value, path: &str, value: Value) {
    let mut member = config;
    for name in path.split('/') {
        member = &mut member[name];
    }
    *member = value;
}

/// One case of a list: its name, the call, the codes and the words.
type Case<'a> = (&'a str, Call, &'a [u64], &'a [&'a str]);

fn all(stage: &Stage, cases: Vec<Case<'_>>) -> Result<()> {
    let mut failures = Vec::new();
    for (name, call, codes, words) in cases {
        if let Err(error) = stage.refused(&call, codes, words) {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n\n"));
    // After all that, a good one works.
    stage.add()?.result()?;
    stage.add()?.verb("DEL").done()?;
    stage.before.nothing_left()
}

#[test]
fn standard_input() {
    scene("bad-stdin", |scene| {
        let stage = Stage::new(Network::standalone(scene)?)?;
        let add = || stage.add();
        let good = stage.network.config()?.to_string();
        let nested = "[".repeat(100_000);
        let deep = format!("{{\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"x\":{nested}");
        let mut broken = good.clone().into_bytes();
        let at = good.find("calico").context("no calico")?;
        broken[at] = 0xff;
        let cases: Vec<Case> = vec![
            ("empty", add()?.stdin(""), &[6], &[]),
            ("white space", add()?.stdin(" \n "), &[6], &[]),
            ("garbage", add()?.stdin("not json"), &[6], &[]),
            ("1 MB of garbage", add()?.stdin("x".repeat(1 << 20)), &[6], &[]),
            ("1 MB of zeros", add()?.stdin(vec![0; 1 << 20]), &[6], &[]),
            ("cut off", add()?.stdin(&good.as_bytes()[..good.len() - 1]), &[6], &[]),
            ("two documents", add()?.stdin(format!("{good}{good}")), &[6], &[]),
            ("no object", add()?.stdin("[]"), &[6, 7], &[]),
            ("null", add()?.stdin("null"), &[6, 7], &[]),
            ("nested arrays", add()?.stdin(nested.clone()), &[6], &[]),
            ("nested deep in an object", add()?.stdin(deep), &[6], &[]),
            ("no UTF-8", add()?.stdin(broken), &[6], &[]),
            ("DEL of garbage", add()?.verb("DEL").stdin("x"), &[6], &[]),
            ("CHECK of garbage", add()?.verb("CHECK").stdin("x"), &[6], &[]),
            ("GC of garbage", add()?.verb("GC").stdin("x"), &[6], &[]),
            ("STATUS of garbage", add()?.verb("STATUS").stdin("x"), &[6], &[]),
        ];
        all(&stage, cases)?;
        // Large, and good.
        let mut config = stage.network.config()?;
        config["unknown"] = json!("x".repeat(1 << 20));
        stage.add()?.config(&config).result()?;
        stage.add()?.verb("DEL").config(&config).done()?;
        stage.before.nothing_left()
    });
}

#[test]
fn environment() {
    scene("bad-environment", |scene| {
        let stage = Stage::new(Network::standalone(scene)?)?;
        let add = || stage.add();
        let host = stage.network.host();
        host.write("/run/netns/file", "no namespace")?;
        let cases: Vec<Case> = vec![
            ("unknown verb", add()?.verb("FROB"), &[4], &["CNI_COMMAND", "FROB"]),
            ("no id", add()?.without("CNI_CONTAINERID"), &[4], &["CNI_CONTAINERID"]),
            ("no interface", add()?.without("CNI_IFNAME"), &[4], &["CNI_IFNAME"]),
            ("no namespace", add()?.without("CNI_NETNS"), &[4], &["CNI_NETNS"]),
            ("empty namespace", add()?.env("CNI_NETNS", ""), &[4], &["CNI_NETNS"]),
            ("no path", add()?.without("CNI_PATH"), &[4], &["CNI_PATH"]),
            (
                "two missing",
                add()?.without("CNI_IFNAME").without("CNI_CONTAINERID"),
                &[4],
                &["CNI_IFNAME", "CNI_CONTAINERID"],
            ),
            ("slash in the id", add()?.container("bad/id"), &[4], &["CNI_CONTAINERID", "bad/id"]),
            ("dash before the id", add()?.container("-x"), &[4], &["CNI_CONTAINERID", "-x"]),
            ("long name", add()?.ifname("a234567890123456"), &[4], &["a234567890123456"]),
            ("slash in the name", add()?.ifname("a/b"), &[4], &["CNI_IFNAME", "a/b"]),
            ("colon in the name", add()?.ifname("a:b"), &[4], &["CNI_IFNAME", "a:b"]),
            ("blank in the name", add()?.ifname("a b"), &[4], &["CNI_IFNAME", "a b"]),
            ("the folder as name", add()?.ifname(".."), &[4], &["CNI_IFNAME", ".."]),
            ("taken name", add()?.ifname("lo"), &[4, 7, 101], &["lo"]),
            ("no UTF-8", add()?.env_bytes("CNI_ARGS", b"A=\xff"), &[4], &["CNI_ARGS"]),
            ("no pair", add()?.args("A"), &[4], &["CNI_ARGS"]),
            ("no address", add()?.args("IP=x"), &[4, 7], &["IP", "x"]),
            (
                "namespace not there",
                add()?.env("CNI_NETNS", "/run/netns/none"),
                &[3, 4, 8],
                &["/run/netns/none"],
            ),
            (
                "namespace is a file",
                add()?.env("CNI_NETNS", "/run/netns/file"),
                &[4, 8],
                &["/run/netns/file"],
            ),
            ("namespace is a folder", add()?.env("CNI_NETNS", "/run"), &[4, 8], &["/run"]),
            (
                "namespace of mounts",
                add()?.env("CNI_NETNS", "/proc/1/ns/mnt"),
                &[4, 8],
                &["/proc/1/ns/mnt"],
            ),
            (
                "the host's own namespace",
                add()?.env("CNI_NETNS", "/proc/1/ns/net"),
                &[8],
                &["/proc/1/ns/net"],
            ),
        ];
        all(&stage, cases)
    });
}

/// An interface that the container has already is not ours to replace, and stays as it is.
#[test]
fn interface_name_that_is_taken() {
    scene("bad-taken", |scene| {
        let stage = Stage::new(Network::standalone(scene)?)?;
        stage.pod.run(["ip", "link", "add", "eth0", "type", "bridge"])?;
        let (_, message) = stage.add()?.error()?;
        ensure!(message.contains("eth0"), "{message}");
        stage.before.nothing_left()?;
        ensure!(stage.pod.ip("-d link show eth0")?[0]["linkinfo"]["info_kind"] == "bridge");
        // And DEL doesn't take away what ADD didn't give.
        stage.add()?.verb("DEL").done()?;
        ensure!(stage.pod.ip("-d link show eth0")?[0]["linkinfo"]["info_kind"] == "bridge");
        Ok(())
    });
}

#[test]
fn configuration() {
    scene("bad-config", |scene| {
        let stage = Stage::new(Network::standalone(scene)?)?;
        // Whatever the store, the node's name is known.
        stage.network.host().write("/var/lib/calico/nodename", "node-a")?;
        let with = |path: &str, value: Value| stage.with(path, value);
        let cases: Vec<Case> = vec![
            ("unknown version", with("cniVersion", json!("9.9.9"))?, &[1], &["9.9.9", "1.0.0"]),
            ("version is a number", with("cniVersion", json!(1))?, &[6, 7], &["cniVersion"]),
            ("no name", with("name", Value::Null)?, &[7], &["name"]),
            ("blank in the name", with("name", json!("bad name"))?, &[7], &["name", "bad name"]),
            ("capital name", with("name", json!("Net"))?, &[7], &["name", "Net"]),
            ("no ipam type", with("ipam", json!({}))?, &[7], &["ipam"]),
            ("path as ipam type", with("ipam/type", json!("../x"))?, &[7], &["ipam", "../x"]),
            ("no such ipam", with("ipam/type", json!("nosuch"))?, &[7, 104], &["nosuch"]),
            (
                "unknown store",
                with("datastore_type", json!("zzz"))?,
                &[2, 7],
                &["datastore_type", "zzz"],
            ),
            ("unknown device", with("device_type", json!("zzz"))?, &[2], &["device_type", "zzz"]),
            ("mtu is text", with("mtu", json!("x"))?, &[6, 7], &["mtu"]),
            ("mtu too large", with("mtu", json!(1u64 << 40))?, &[6, 7, 101], &["mtu"]),
            ("queues are text", with("num_queues", json!("x"))?, &[6, 7], &["num_queues"]),
            (
                "switch is a boolean",
                with("ipam/assign_ipv4", json!(true))?,
                &[6, 7],
                &["assign_ipv4"],
            ),
            ("ipam is a text", with("ipam", json!("calico-ipam"))?, &[6, 7], &["ipam"]),
            (
                "gates are a text",
                with("readiness_gates", json!("x"))?,
                &[6, 7],
                &["readiness_gates"],
            ),
            ("half policy", with("policy", json!({"type": "zzz"}))?, &[2, 7], &["policy", "zzz"]),
            (
                "dataplane",
                with("dataplane_options", json!({"type": "zzz"}))?,
                &[2],
                &["dataplane_options", "zzz"],
            ),
            ("no file of the MTU", with("require_mtu_file", json!(true))?, &[5, 6, 11], &["mtu"]),
        ];
        all(&stage, cases)
    });
}

#[test]
fn pools() {
    scene("bad-pools", |scene| {
        let stage = Stage::new(Network::etcd(scene)?)?;
        let Stores::Etcd(etcd) = stage.network.store() else { anyhow::bail!("not etcd") };
        pool(etcd, "off", json!({"cidr": "10.70.0.0/24", "blockSize": 26, "disabled": true}))?;
        pool(etcd, "tiny", json!({"cidr": "10.71.0.0/30", "blockSize": 30}))?;
        let of = |pools: Value| stage.with("ipam/ipv4_pools", pools);

        let holders: Vec<Pod> =
            (0..4).map(|n| stage.network.host().pod(&format!("h{n}"))).collect::<Result<_>>()?;
        let holder = |pod: &Pod| Ok(of(json!(["tiny"]))?.container(pod.name()).pod(pod));
        for pod in &holders {
            let call: Result<Call> = holder(pod);
            call?.result()?;
        }
        let taken = stage.network.store().dump()?;
        let taken = taken.allocations().len();
        ensure!(taken == 4, "the tiny pool gave {taken}");
        // The full pool's holders are part of the picture now.
        let stage = Stage { before: stage.network.before()?, ..stage };
        let of = |pools: Value| stage.with("ipam/ipv4_pools", pools);
        let none = json!({"type": "calico-ipam", "assign_ipv4": "false"});
        let cases: Vec<Case> = vec![
            ("no such range", of(json!(["10.99.0.0/24"]))?, &[7, 104, 105], &["10.99.0.0/24"]),
            ("no such name", of(json!(["nosuch"]))?, &[7, 104, 105], &["nosuch"]),
            ("disabled", of(json!(["off"]))?, &[7, 104, 105], &["off", "disabled"]),
            ("full", of(json!(["tiny"]))?, &[7, 104, 105], &["10.71.0.0/30"]),
            ("other family", of(json!(["fd00:65::/64"]))?, &[7, 104, 105], &["fd00:65::/64"]),
            ("other family by name", of(json!(["pool-v6"]))?, &[7, 104, 105], &["pool-v6"]),
            ("no text", of(json!([1]))?, &[6, 7], &["ipv4_pools"]),
            ("no family", stage.with("ipam", none)?, &[7, 104, 105], &["assign_ipv4"]),
            ("outside", stage.add()?.args("IP=10.99.0.1"), &[7, 104, 105], &["10.99.0.1"]),
            ("taken", stage.add()?.args("IP=10.71.0.1"), &[7, 104, 105], &["10.71.0.1"]),
        ];
        all(&stage, cases)?;
        for pod in &holders {
            stage
                .with("ipam/ipv4_pools", json!(["tiny"]))?
                .container(pod.name())
                .pod(pod)
                .verb("DEL")
                .done()?;
        }
        Ok(())
    });
}

fn pool(etcd: &Etcd, name: &str, mut spec: Value) -> Result<()> {
    for (member, value) in [
        ("vxlanMode", json!("Never")),
        ("ipipMode", json!("Never")),
        // Only for those who ask for it.
        ("nodeSelector", json!("all()")),
        ("allowedUses", json!(["Workload"])),
        ("assignmentMode", json!("Manual")),
    ] {
        spec[member] = value;
    }
    let (key, object) = objects::resource("IPPool", "ippools", name, spec);
    etcd.put(&key, &object.to_string())
}

#[test]
fn etcd_that_does_not_serve() {
    scene("bad-etcd", |scene| {
        let stage = Stage::new(Network::etcd(scene)?)?;
        let Stores::Etcd(etcd) = stage.network.store() else { anyhow::bail!("not etcd") };
        let with = |member: &str, value: &str| stage.with(member, json!(value));
        let at = |endpoints: &str| with("etcd_endpoints", endpoints);
        let cases: Vec<Case> = vec![
            ("refused", at("http://127.0.0.1:2399")?, &[11], &["127.0.0.1:2399"]),
            ("no URL", at("not a url")?, &[7], &["etcd_endpoints"]),
            (
                "TLS without an authority",
                at("https://127.0.0.1:2379")?,
                &[7],
                &["etcd_ca_cert_file"],
            ),
            ("a lone certificate", with("etcd_cert_file", "/none")?, &[7], &["etcd_key_file"]),
            ("a lone authority", with("etcd_ca_cert_file", "/none")?, &[5, 7], &["/none"]),
        ];
        all(&stage, cases)?;

        // One of two that is dead or silent doesn't matter.
        let silent = silent(&stage)?;
        for other in ["http://127.0.0.1:2399", &silent] {
            for list in
                [format!("{other},{}", etcd.endpoint()), format!("{},{other}", etcd.endpoint())]
            {
                let call = at(&list)?.limit(Duration::from_secs(10));
                call.result().with_context(|| list.clone())?;
                call.verb("DEL").done().with_context(|| list.clone())?;
            }
        }
        stage.refused(&at(&silent)?, &[11], &["127.0.0.1:"])?;

        etcd.pause()?;
        let call = stage.add()?;
        let (code, message) = call.error()?;
        ensure!(code == 11, "{code}: {message}");
        etcd.resume()?;
        call.verb("DEL").done()?;
        stage.before.nothing_left()
    });
}

/// A server on the host that takes connections and never says a word.
fn silent(stage: &Stage) -> Result<String> {
    let listener = Arc::new(stage.network.host().within(|| TcpListener::bind("127.0.0.1:0"))?);
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || -> io::Result<()> {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept()?);
        }
    });
    Ok(url)
}

#[test]
fn etcd_that_refuses_our_certificate() {
    scene("bad-certificate", |scene| {
        let stage = Stage::new(Network::etcd_tls(scene)?)?;
        let host = stage.network.host();
        // A certificate of somebody else's authority.
        let subject = "/CN=stranger";
        for name in ["stranger", "other-ca"] {
            let (key, cert) = (format!("/run/{name}.key"), format!("/run/{name}.pem"));
            host.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
                    .into_iter()
                    .chain([
                        "-nodes", "-days", "2", "-subj", subject, "-keyout", &key, "-out", &cert,
                    ]),
            )?;
        }
        let mut stranger = stage.network.config()?;
        stranger["etcd_cert_file"] = json!("/run/stranger.pem");
        stranger["etcd_key_file"] = json!("/run/stranger.key");
        let mut none = stage.network.config()?;
        none["etcd_cert_file"] = json!("");
        none["etcd_key_file"] = json!("");
        let cases: Vec<Case> = vec![
            ("a stranger", stage.add()?.config(&stranger), &[7, 11, 103], &["127.0.0.1:2379"]),
            ("no certificate", stage.add()?.config(&none), &[7, 11, 103], &["127.0.0.1:2379"]),
            (
                "another authority",
                stage.with("etcd_ca_cert_file", json!("/run/other-ca.pem"))?,
                &[7, 11, 103],
                &["127.0.0.1:2379"],
            ),
            (
                "the key of another",
                stage.with("etcd_key_file", json!("/run/stranger.key"))?,
                &[7, 11, 103],
                &["key"],
            ),
        ];
        all(&stage, cases)
    });
}

#[test]
fn etcd_that_asks_for_a_password() {
    scene("bad-password", |scene| {
        let network = Network::etcd_with_password(scene)?;
        let pod = network.host().pod("p1")?;
        let add = network.call("ADD")?.pod(&pod);
        let call = |user: &str, password: &str| {
            add.clone().env("ETCD_USERNAME", user).env("ETCD_PASSWORD", password)
        };
        let good = call("root", "pass");
        good.result()?;
        good.verb("DEL").done()?;
        let before = network.before()?;
        for bad in [
            add.clone(),
            call("root", "secret-word"),
            call("nobody", "secret-word"),
            call("root", "secret-word").verb("CHECK"),
            call("root", "secret-word").verb("STATUS"),
        ] {
            let answer = bad.run()?;
            let (code, message) = answer.error()?;
            ensure!(code > 0 && !message.contains("secret-word"), "{code}: {message}");
            ensure!(!answer.stderr.contains("secret-word"), "{}", answer.stderr);
            before.nothing_left().context(message)?;
        }
        Ok(())
    });
}

#[test]
fn a_store_that_is_not_ready() {
    scene("bad-ready", |scene| {
        let stage = Stage::new(Network::etcd(scene)?)?;
        let Stores::Etcd(etcd) = stage.network.store() else { anyhow::bail!("not etcd") };
        let key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
        let (_, good) = etcd.get_prefix(key)?.pop().context("no cluster information")?;
        for bad in [
            Some(good.replace(":true", ":false")),
            Some(good.replace(",\"datastoreReady\":true", "")),
            Some(good.replace(":true", ":null")),
            None,
        ] {
            match &bad {
                Some(value) => {
                    ensure!(*value != good);
                    etcd.put(key, value)?;
                }
                None => etcd.delete_prefix(key)?,
            }
            stage
                .refused(&stage.add()?, &[11], &["ClusterInformation"])
                .with_context(|| format!("{bad:?}"))?;
            let (code, message) = stage.add()?.verb("DEL").error()?;
            ensure!(code == 11, "DEL: {code}: {message}");
        }
        etcd.put(key, &good)?;
        stage.add()?.verb("DEL").done()
    });
}

#[test]
fn local_store_that_is_none() {
    scene("bad-local", |scene| {
        let stage = Stage::new(Network::standalone(scene)?)?;
        let host = stage.network.host();
        host.run(["sh", "-c", "rm /var/lib/calico/*"])?;
        host.write("/var/lib/calico/calico.db", "this is no database, whatever its name may say")?;
        let (code, message) = stage.add()?.error()?;
        ensure!([5, 11, 103].contains(&code), "{code}: {message}");
        ensure!(message.contains("/var/lib/calico/calico.db"), "{message}");
        host.run(["rm", "/var/lib/calico/calico.db"])?;
        stage.before.nothing_left()?;

        // Its folder is a file.
        host.run(["sh", "-c", "rm -r /var/lib/calico && echo x > /var/lib/calico"])?;
        let (code, message) = stage.add()?.error()?;
        ensure!([5, 11, 103].contains(&code), "{code}: {message}");
        ensure!(message.contains("/var/lib/calico"), "{message}");
        host.run(["rm", "/var/lib/calico"])?;
        stage.before.nothing_left()
    });
}
