//! `calicoctl convert`: the resources of Calico 2 become today's (`reference/calicoctl.md` sections
//! 2.7, 5.9 and 10.6). It asks no datastore.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Ctl, Host, Stores, scene};

/// As release 2 printed several resources: an array.
const OLD: &str = "\
- apiVersion: v1
  kind: bgpPeer
  metadata:
    peerIP: 192.20.30.40
    scope: global
  spec:
    asNumber: 64567
- apiVersion: v1
  kind: bgpPeer
  metadata:
    node: node1
    peerIP: aa:bb::ff
    scope: node
  spec:
    asNumber: 64514
- apiVersion: v1
  kind: hostEndpoint
  metadata:
    hostname: endpoint1
    labels:
      type: database
    name: eth0
  spec:
    expectedIPs: [1.2.3.4]
    interfaceName: eth0
    profiles: [prof1]
- apiVersion: v1
  kind: ipPool
  metadata:
    cidr: 192.168.0.0/16
  spec:
    ipip:
      enabled: true
      mode: cross-subnet
    nat-outgoing: true
- apiVersion: v1
  kind: node
  metadata:
    name: Node1
  spec:
    bgp:
      ipv4Address: 172.17.8.101
---
apiVersion: v1
kind: policy
metadata:
  name: allow-web
spec:
  selector: role == 'web'
  order: 100
  ingress:
  - action: allow
    protocol: tcp
    source:
      tag: front
    destination:
      ports: [80, 443]
";

fn convert(host: &Arc<Host>, line: &str, input: &str) -> Ctl {
    let words = ["convert"].into_iter().chain(line.split_whitespace());
    Ctl::new(&Stores::Local(host.clone()), words).stdin(input)
}

#[test]
fn the_resources_of_release_2_get_todays_names() {
    scene("convert-v1", |scene| {
        let host = scene.host("node-a")?;
        let text = convert(&host, "-f - -o json", OLD).ok()?;
        let list: Value = serde_json::from_str(&text)?;
        ensure!(list["apiVersion"] == "v1" && list["kind"] == "List", "{list}");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let found: Vec<[&str; 2]> = items
            .iter()
            .map(|item| {
                [&item["kind"], &item["metadata"]["name"]].map(|v| v.as_str().unwrap_or(""))
            })
            .collect();
        let expected = [
            ["BGPPeer", "192-20-30-40"],
            ["BGPPeer", "node1.00aa-00bb-0000-0000-0000-0000-0000-00ff"],
            ["HostEndpoint", "endpoint1.eth0"],
            ["IPPool", "192-168-0-0-16"],
            ["Node", "node1"],
            ["GlobalNetworkPolicy", "default.allow-web"],
        ];
        ensure!(found == expected, "{found:?}");
        ensure!(items[3]["spec"]["ipipMode"] == "CrossSubnet", "{}", items[3]);
        ensure!(items[4]["spec"]["bgp"]["ipv4Address"] == "172.17.8.101/32", "{}", items[4]);
        let rule = json!({"action": "Allow", "protocol": "TCP", "source": {"selector": "front == ''"},
            "destination": {"ports": [80, 443]}});
        ensure!(items[5]["spec"]["ingress"] == json!([rule]), "{}", items[5]);

        // The same as YAML, and one alone.
        let yaml = convert(&host, "-f old.yaml", "").file("old.yaml", OLD)?.ok()?;
        ensure!(
            yaml.starts_with(
                "apiVersion: v1\nitems:\n- apiVersion: projectcalico.org/v3\n  kind: BGPPeer\n"
            ),
            "{yaml}"
        );
        let pool = "apiVersion: v1\nkind: ipPool\nmetadata: {cidr: \"10.1.0.0/16\"}\n";
        let yaml = convert(&host, "--filename=-", pool).ok()?;
        let expected = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: 10-1-0-0-16
spec:
  blockSize: 26
  cidr: 10.1.0.0/16
  ipipMode: Never
  nodeSelector: all()
  vxlanMode: Never
";
        ensure!(yaml == expected, "{yaml}");
        let made = host.path("/var/lib/calico/calico.db").exists();
        ensure!(!made, "a store was opened");
        Ok(())
    });
}

#[test]
fn a_policy_of_kubernetes_becomes_one_of_calicos() {
    scene("convert-kubernetes", |scene| {
        let host = scene.host("node-a")?;
        let policy = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicyList
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: allow-redis, namespace: shop}
  spec:
    podSelector: {matchLabels: {role: db}}
    ingress:
    - from: [{podSelector: {matchLabels: {role: web}}}]
      ports: [{port: 6379}]
";
        let text = convert(&host, "-f - -o json", policy).ok()?;
        let new: Value = serde_json::from_str(&text)?;
        ensure!(new["metadata"] == json!({"name": "allow-redis", "namespace": "shop"}), "{new}");
        let selector = "projectcalico.org/orchestrator == 'k8s' && role == 'db'";
        ensure!(new["spec"]["selector"] == selector, "{new}");
        ensure!(new["spec"]["ingress"][0]["destination"] == json!({"ports": [6379]}), "{new}");
        Ok(())
    });
}

#[test]
fn all_that_is_wrong_is_told_and_nothing_is_printed() {
    scene("convert-refused", |scene| {
        let host = scene.host("node-a")?;
        let refused = |line: &str, input: &str| -> Result<String> {
            let answer = convert(&host, line, input).run()?;
            ensure!(answer.exit == Some(1) && answer.stdout.is_empty(), "{line}: {answer:?}");
            ensure!(answer.stderr.lines().count() == 1, "{line}: {answer:?}");
            Ok(answer.stderr)
        };
        let two = "apiVersion: v1\nkind: ipPool\nmetadata: {cidr: 10.0.0.1/8}\n---\n\
                   apiVersion: v1\nkind: node\nmetadata: {name: n1}\nspec: {pgb: {}}\n";
        let error = refused("-f -", two)?;
        ensure!(
            error.contains("ipPool 10.0.0.1/8: ") && error.contains("strictly masked"),
            "{error}"
        );
        ensure!(error.contains("node n1: ") && error.contains("pgb"), "{error}");
        for (line, input, names) in [
            ("-f none.yaml", "", "none.yaml"),
            ("-f -", "# nothing\n", "no resources specified in file -"),
            ("-f -", "a: [", "line "),
            (
                "-f -",
                "apiVersion: projectcalico.org/v3\nkind: Node\n",
                "unknown resource type (Node) and/or version (projectcalico.org/v3)",
            ),
            ("-f -", "just words\n", "must be an object"),
        ] {
            let error = refused(line, input)?;
            ensure!(error.contains(names), "{line} {input}: {error}");
        }
        let odd = "apiVersion: v1\nkind: ipPool\nmetadata: {cidr: 10.0.0.1/8}\n";
        let text = convert(&host, "-f - --ignore-validation", odd).ok()?;
        ensure!(text.contains("cidr: 10.0.0.1/8\n"), "{text}");
        Ok(())
    });
}
