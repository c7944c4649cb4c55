//! Where the datastore is: the configuration file, the environment, and which versions go together
//! (sections 3.2, 3.3 and 4.9).

use anyhow::{Result, ensure};
use tests::{Ctl, Network, RESOURCES, Stores, on_both_stores, scene};

use crate::answers;

on_both_stores! {
    the_file_wins_over_the_environment
    versions_that_do_not_go_together
}

const HEAD: &str = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n";

/// The file that names this store.
fn file_for(network: &Network) -> String {
    match network.store() {
        Stores::Local(_) => format!("{HEAD}  datastoreType: local\n"),
        Stores::Etcd(etcd) => {
            format!("{HEAD}  datastoreType: etcdv3\n  etcdEndpoints: {}\n", etcd.endpoint())
        }
    }
}

/// A call whose environment names no datastore.
fn bare(network: &Network, line: &str) -> Ctl {
    network.ctl(line).without("DATASTORE_TYPE").without("ETCD_ENDPOINTS")
}

fn the_file_wins_over_the_environment(network: &Network) -> Result<()> {
    let nodes = "NAME     \nnode-a   \n\n";
    let astray = |line: &str| {
        bare(network, line)
            .env("DATASTORE_TYPE", "etcdv3")
            .env("ETCD_ENDPOINTS", "http://127.0.0.1:1")
    };
    let named = astray("get nodes -c ok.cfg").file("ok.cfg", &file_for(network))?;
    ensure!(named.ok()? == nodes, "a named file");
    let kubernetes = bare(network, "get nodes").env("DATASTORE_TYPE", "kubernetes").refused()?;
    let expected =
        "failed to create Calico API client: datastore_type \"kubernetes\" is not supported";
    ensure!(kubernetes.starts_with(expected), "{kubernetes}");
    network.host().write("/etc/calico/calicoctl.cfg", file_for(network))?;
    ensure!(astray("get nodes").ok()? == nodes, "the default file");
    ensure!(astray("get nodes --config /etc/calico/calicoctl.cfg").ok()? == nodes, "by its name");
    for (content, expected) in [
        (file_for(network) + "  colour: red\n", "unknown field `colour`"),
        (file_for(network).replace("/v3", "/v9"), "unknown APIVersion 'projectcalico.org/v9'"),
        (file_for(network).replace("CalicoAPIConfig", "X"), "got 'X'"),
        (format!("{HEAD}  datastoreType: kubernetes\n  kubeconfig: /x\n"), "\"kubernetes\" is not"),
        (format!("{HEAD}  etcdEndpoints: http://a:1\n  etcdCertFile: /x\n"), "etcd_key_file"),
        ("a: [\n".to_owned(), "line "),
    ] {
        let said = bare(network, "get nodes -c bad.cfg").file("bad.cfg", &content)?.refused()?;
        ensure!(said.contains(expected) && said.lines().count() == 1, "{content}: {said}");
    }
    let said = network.ctl("get nodes -c none.cfg").refused()?;
    ensure!(said.contains("error reading config file: none.cfg: "), "{said}");
    Ok(())
}

fn versions_that_do_not_go_together(network: &Network) -> Result<()> {
    let version = |version: &str| {
        network.store().change(&format!("{RESOURCES}/clusterinformations/default"), |cluster| {
            cluster["spec"]["calicoVersion"] = version.into();
            cluster["spec"]["clusterType"] = "k8s,bgp".into();
        })
    };
    let shown = network.ctl("version").ok()?;
    ensure!(
        shown.ends_with("\nCluster Version:   unknown\nCluster Type:      unknown\n"),
        "{shown}"
    );
    for known in ["v3.33.0", "v3.32.1-2-gabc", "3.32.0"] {
        version(known)?;
        network.ctl("get nodes").ok()?;
    }
    version("v3.1.0")?;
    for line in ["get nodes", "create -f x", "label node node-a a=b", "delete node x"] {
        let ctl = network
            .ctl(line)
            .file("x", "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: x}}")?;
        let said = ctl.refused()?;
        let lines: Vec<&str> = said.lines().collect();
        ensure!(
            matches!(
                lines.as_slice(),
                [
                    "version mismatch.",
                    _,
                    "Cluster Version:  v3.1.0",
                    "Use --allow-version-mismatch to override"
                ]
            ),
            "{line}: {said}"
        );
    }
    network.ctl("get nodes --allow-version-mismatch").ok()?;
    network.ctl("--allow-version-mismatch label node node-a a=b").ok()?;
    let shown = network.ctl("version").ok()?;
    ensure!(shown.ends_with("Cluster Version:   v3.1.0\nCluster Type:      k8s,bgp\n"), "{shown}");
    answers(network, &[("version --poll soon", 1, "invalid poll duration specified: soon\n")])?;
    let undetectable = bare(network, "version").env("DATASTORE_TYPE", "kubernetes").ok()?;
    ensure!(
        undetectable.ends_with("Unable to detect installed Calico version\n"),
        "{undetectable}"
    );
    Ok(())
}

/// What is named nowhere is the embedded store at its default place; a file may put it elsewhere.
#[test]
fn the_embedded_store_needs_no_configuration() {
    scene("ctl-embedded", |scene| {
        let network = Network::standalone(scene)?;
        let node = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: x}}";
        bare(&network, "create -f -").stdin(node).ok()?;
        let dump = network.store().dump()?;
        ensure!(dump.0.contains_key(&format!("{RESOURCES}/nodes/x")), "{dump:#?}");
        let file = format!("{HEAD}  localPath: /var/lib/operator/other.db\n");
        let other = bare(&network, "get nodes -c other.cfg").file("other.cfg", &file)?;
        let said = other.refused()?;
        ensure!(said.starts_with("there is no datastore at /var/lib/operator/other.db"), "{said}");
        Ok(())
    });
}

/// Certificates in files, and as text in the configuration file.
#[test]
fn etcd_over_tls() {
    scene("ctl-tls", |scene| {
        let network = Network::etcd_tls(scene)?;
        let Stores::Etcd(etcd) = network.store() else { return Ok(()) };
        let folder = "/etc/calico/etcd";
        let head = format!("{HEAD}  etcdEndpoints: {}\n", etcd.endpoint());
        let files = format!(
            "{head}  etcdCACertFile: {folder}/ca.pem\n  etcdCertFile: {folder}/cert.pem\n  \
             etcdKeyFile: {folder}/key.pem\n"
        );
        let mut inline = head.clone();
        for (field, file) in [("etcdCACert", "ca"), ("etcdCert", "cert"), ("etcdKey", "key")] {
            let pem =
                std::fs::read_to_string(network.host().path(&format!("{folder}/{file}.pem")))?;
            inline += &format!("  {field}: |\n");
            pem.lines().for_each(|line| inline += &format!("    {line}\n"));
        }
        for config in [&files, &inline] {
            let ctl = bare(&network, "get nodes -c tls.cfg").file("tls.cfg", config)?;
            ensure!(ctl.ok()? == "NAME     \nnode-a   \n\n", "{config}");
        }
        let both = format!("{files}  etcdKey: x\n");
        let said = bare(&network, "get nodes -c tls.cfg").file("tls.cfg", &both)?.refused()?;
        ensure!(said.contains("etcd_key_file and etcd_key exclude one another"), "{said}");
        let said = bare(&network, "get nodes -c tls.cfg").file("tls.cfg", &head)?.refused()?;
        ensure!(said.contains("etcd_ca_cert_file"), "{said}");
        Ok(())
    });
}

/// A datastore that is away is one line, and never an empty table.
#[test]
fn a_datastore_that_is_away() {
    scene("ctl-away", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { return Ok(()) };
        etcd.kill()?;
        for line in ["get nodes", "get nodes a b c", "label node x a=b", "delete node x y z"] {
            let answer = network.ctl(line).run()?;
            ensure!(answer.exit == Some(1) && answer.stdout.is_empty(), "{line}: {answer:#?}");
            ensure!(answer.stderr.lines().count() == 1, "{line}: {answer:#?}");
        }
        Ok(())
    });
}
