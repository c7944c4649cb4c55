//! Profiles, their tags and their rules.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Network, objects};

use crate::{endpoint, refuses, says, spec};

tests::on_both_stores! {
    profiles_and_tags
    rules
    rules_as_a_document
    rules_beyond_the_grammar_stay
}

fn profiles_and_tags(network: &Network) -> Result<()> {
    says(network.ctl("profile add web"), "Created profile web\n")?;
    says(network.ctl("profile add web"), "Profile web already exists.\n")?;
    let stored = spec(network, "profiles", "web")?;
    ensure!(
        stored
            == json!({
                "ingress": [{"action": "Allow", "source": {"selector": "web == ''"},
                             "destination": {}}],
                "egress": [{"action": "Allow", "source": {}, "destination": {}}],
                "labelsToApply": {"web": ""},
            }),
        "{stored:#}"
    );
    says(
        network.ctl("profile show"),
        "\
+-----------------------------+
|            Name             |
+-----------------------------+
| projectcalico-default-allow |
|             web             |
+-----------------------------+
",
    )?;
    // Names of the early documents may be upper case; today's are not.
    let added = network.ctl("profile add PROF_A").run()?;
    ensure!(added.exit == Some(0) && added.stdout == "Created profile PROF_A\n", "{added:?}");
    ensure!(
        added.stderr == "profile PROF_A is stored as prof-a-447651e6: names are lower case today\n",
        "{added:?}"
    );
    says(network.ctl("profile PROF_A tag show"), "PROF_A\n")?;
    says(
        network.ctl("profile PROF_A rule show"),
        "Inbound rules:\n   1 allow from tag PROF_A\nOutbound rules:\n   1 allow\n",
    )?;
    refuses(
        network.ctl("profile add a/b"),
        "profile name \"a/b\" is not valid: use 1 to 40 letters, digits, '_', '.' and '-'",
    )?;
    network.ctl(&format!("profile add {}", "x".repeat(41))).refused()?;

    says(network.ctl("profile web tag add db"), "Tag db added to profile web\n")?;
    says(network.ctl("profile web tag add DB_2"), "Tag DB_2 added to profile web\n")?;
    says(network.ctl("profile web tag show"), "DB_2\ndb\nweb\n")?;
    says(network.ctl("profile tag remove web db"), "Tag db removed from profile web\n")?;
    refuses(network.ctl("profile web tag remove db"), "Tag db is not on profile web")?;
    let labels = spec(network, "profiles", "web")?["labelsToApply"].clone();
    ensure!(labels == json!({"DB_2": "", "web": ""}), "{labels}");
    network.ctl("profile web tag add a=b").refused()?;
    for line in [
        "profile none tag show",
        "profile none tag add a",
        "profile none tag remove a",
        "profile none rule show",
        "profile none rule json",
        "profile none rule add inbound allow",
        "profile none rule remove inbound allow",
    ] {
        refuses(network.ctl(line), "Profile none not found.")?;
    }
    refuses(network.ctl("profile remove none"), "Couldn't find profile with name none")?;
    says(network.ctl("profile remove PROF_A"), "Deleted profile PROF_A\n")?;
    refuses(network.ctl("profile remove PROF_A"), "Couldn't find profile with name PROF_A")?;
    let error = network.ctl("profile remove projectcalico-default-allow").refused()?;
    ensure!(error.contains("built in"), "{error}");

    // While something has it, it stays.
    let host = json!({"node": "node-a", "interfaceName": "eth0", "profiles": ["web"]});
    network.put([
        endpoint("node-a", "cni", "c1", &json!({"profiles": ["web"]})),
        objects::resource("HostEndpoint", "hostendpoints", "node-a-eth0", host),
    ])?;
    refuses(
        network.ctl("profile remove web"),
        "Profile web is in use by 2 endpoints, of which node--a-cni-c1-eth0 is one: take it from \
         them, or use --no-check",
    )?;
    says(network.ctl("profile remove web --no-check"), "Deleted profile web\n")
}

fn rules(network: &Network) -> Result<()> {
    network.ctl("profile add web").ok()?;
    let shown = |expected: &str| says(network.ctl("profile web rule show"), expected);
    for line in [
        "rule add inbound deny icmp type 8 code 0 from cidr 10.0.0.0/8",
        "rule add inbound --at=1 allow tcp from tag db to ports 80,443,8000:8099",
        "rule add outbound --at=2 deny udp to ports 53 cidr 10.9.0.0/16",
    ] {
        says(network.ctl(&format!("profile web {line}")), "")?;
    }
    shown(
        "\
Inbound rules:
   1 allow tcp from tag db to ports 80,443,8000:8099
   2 allow from tag web
   3 deny icmp type 8 code 0 from cidr 10.0.0.0/8
Outbound rules:
   1 allow
   2 deny udp to ports 53 cidr 10.9.0.0/16
",
    )?;
    let stored = spec(network, "profiles", "web")?["ingress"][0].clone();
    ensure!(
        stored
            == json!({"action": "Allow", "protocol": "TCP", "source": {"selector": "db == ''"},
                      "destination": {"ports": [80, 443, "8000:8099"]}}),
        "{stored:#}"
    );
    says(
        network.ctl("profile web rule add outbound deny udp to cidr 10.9.0.0/16 ports 53"),
        "Rule already present, skipping.\n",
    )?;
    for (line, reason) in [
        ("rule add inbound --at=5 deny", "Position 5 is out-of-range."),
        ("rule add inbound --at=0 deny", "Position 0 is out-of-range."),
        ("rule remove inbound --at=4", "Position 4 is out-of-range."),
        ("rule remove outbound deny", "Rule not found."),
        ("rule add inbound allow to ports 80", "Ports are not valid with protocol"),
    ] {
        refuses(network.ctl(&format!("profile web {line}")), reason)?;
    }
    says(network.ctl("profile web rule remove inbound --at=2"), "")?;
    says(network.ctl("profile web rule remove outbound allow"), "")?;
    says(network.ctl("profile rule remove web outbound --at=1"), "")?;
    shown(
        "\
Inbound rules:
   1 allow tcp from tag db to ports 80,443,8000:8099
   2 deny icmp type 8 code 0 from cidr 10.0.0.0/8
Outbound rules:
",
    )
}

fn rules_as_a_document(network: &Network) -> Result<()> {
    network.ctl("profile add web").ok()?;
    network.ctl("profile web rule add inbound deny tcp to ports 1:2").ok()?;
    let expected = r#"{
  "id": "web",
  "inbound_rules": [
    {
      "action": "allow",
      "src_tag": "web"
    },
    {
      "action": "deny",
      "protocol": "tcp",
      "dst_ports": [
        "1:2"
      ]
    }
  ],
  "outbound_rules": [
    {
      "action": "allow"
    }
  ]
}
"#;
    says(network.ctl("profile web rule json"), expected)?;
    let document = json!({
        "id": "web",
        "inbound_rules": [{"action": "allow", "protocol": "icmp", "icmp_type": 128,
                           "src_net": "fd00::/8"}],
        "outbound_rules": [],
    });
    let update =
        |document: &Value| network.ctl("profile web rule update").stdin(document.to_string());
    says(update(&document), "Successfully updated rules on profile web\n")?;
    says(
        network.ctl("profile web rule show"),
        "Inbound rules:\n   1 allow icmp type 128 from cidr fd00::/8\nOutbound rules:\n",
    )?;
    ensure!(spec(network, "profiles", "web")?["ingress"][0]["protocol"] == "ICMPv6");
    let before = network.store().dump()?;
    for (member, value) in [
        ("id", json!("db")),
        ("inbound_rules", json!([{"action": "permit"}])),
        ("inbound_rules", json!([{"action": "allow", "colour": "blue"}])),
        ("outbound_rules", json!([{"action": "allow", "src_ports": [80]}])),
        ("more", json!([])),
    ] {
        let mut wrong = document.clone();
        wrong[member] = value;
        update(&wrong).refused()?;
    }
    network.ctl("profile web rule update").stdin("{").refused()?;
    ensure!(network.store().dump()? == before);
    // What was printed can be put back.
    network.ctl("profile web rule update").stdin(expected).ok()?;
    says(network.ctl("profile web rule json"), expected)
}

fn rules_beyond_the_grammar_stay(network: &Network) -> Result<()> {
    let log = json!({"action": "Log", "source": {"notNets": ["10.0.0.0/8"]}, "destination": {}});
    let allow = json!({"action": "Allow", "source": {"selector": "has(db)"}, "destination": {}});
    let spec_of = json!({"ingress": [log, allow], "labelsToApply": {"tier": "front"}});
    network.put([objects::resource("Profile", "profiles", "web", spec_of)])?;
    says(
        network.ctl("profile web rule show"),
        "\
Inbound rules:
   1 {\"action\":\"Log\",\"source\":{\"notNets\":[\"10.0.0.0/8\"]},\"destination\":{}}
   2 allow from tag db
Outbound rules:
",
    )?;
    // A label with a value is no tag, and stays.
    says(network.ctl("profile web tag show"), "")?;
    refuses(network.ctl("profile web tag remove tier"), "Tag tier is not on profile web")?;
    refuses(
        network.ctl("profile web tag add tier"),
        "profile web has the label tier=front: a tag has no value",
    )?;
    let document = network.ctl("profile web rule json").ok()?;
    network.ctl("profile web rule update").stdin(document).ok()?;
    network.ctl("profile web rule add inbound deny").ok()?;
    let stored = spec(network, "profiles", "web")?;
    ensure!(stored["ingress"][0] == log && stored["ingress"][2]["action"] == "Deny", "{stored:#}");
    ensure!(stored["labelsToApply"] == json!({"tier": "front"}));
    Ok(())
}
