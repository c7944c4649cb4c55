//! v1's rules as v3 has them: tags become selectors, names of actions and protocols get their
//! capitals.

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::object::{ConvertError, put, text};
use crate::commands::v1_names;

/// A rule of v1.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    #[serde(rename = "action")]
    action: String,
    #[serde(rename = "ipVersion")]
    ip_version: Option<u8>,
    #[serde(rename = "protocol")]
    protocol: Option<Value>,
    #[serde(rename = "icmp")]
    icmp: Option<Value>,
    #[serde(rename = "!protocol")]
    not_protocol: Option<Value>,
    #[serde(rename = "!icmp")]
    not_icmp: Option<Value>,
    #[serde(rename = "source")]
    source: Option<Entity>,
    #[serde(rename = "destination")]
    destination: Option<Entity>,
}

/// What one end of a packet must be.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Entity {
    #[serde(rename = "tag", deserialize_with = "text")]
    tag: String,
    #[serde(rename = "net")]
    net: Option<String>,
    #[serde(rename = "nets")]
    nets: Vec<String>,
    #[serde(rename = "selector", deserialize_with = "text")]
    selector: String,
    #[serde(rename = "ports")]
    ports: Vec<Value>,
    #[serde(rename = "!tag", deserialize_with = "text")]
    not_tag: String,
    #[serde(rename = "!net")]
    not_net: Option<String>,
    #[serde(rename = "!nets")]
    not_nets: Vec<String>,
    #[serde(rename = "!selector", deserialize_with = "text")]
    not_selector: String,
    #[serde(rename = "!ports")]
    not_ports: Vec<Value>,
}

/// A list of rules.
pub fn convert_all(rules: Vec<Rule>) -> Result<Vec<Value>, ConvertError> {
    rules.into_iter().map(convert).collect()
}

fn convert(rule: Rule) -> Result<Value, ConvertError> {
    let mut converted = Map::new();
    put(&mut converted, "action", json!(action(&rule.action)?));
    put(&mut converted, "ipVersion", json!(rule.ip_version));
    put(&mut converted, "protocol", json!(rule.protocol.map(protocol)));
    put(&mut converted, "icmp", json!(rule.icmp));
    put(&mut converted, "notProtocol", json!(rule.not_protocol.map(protocol)));
    put(&mut converted, "notICMP", json!(rule.not_icmp));
    for (name, end) in [("source", rule.source), ("destination", rule.destination)] {
        if let Some(end) = end {
            put(&mut converted, name, entity(end)?);
        }
    }
    Ok(Value::Object(converted))
}

fn action(name: &str) -> Result<&'static str, ConvertError> {
    match name.to_lowercase().as_str() {
        "allow" => Ok("Allow"),
        "deny" => Ok("Deny"),
        "log" => Ok("Log"),
        "pass" | "next-tier" => Ok("Pass"),
        _ => Err(ConvertError::value("action", name, "is none of allow, deny, log, pass")),
    }
}

/// A protocol by its number stays; names get v3's spelling.
fn protocol(value: Value) -> Value {
    const NAMES: [&str; 6] = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"];
    let known = value
        .as_str()
        .and_then(|text| NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(text)));
    known.map_or(value, Value::from)
}

fn entity(end: Entity) -> Result<Value, ConvertError> {
    let mut converted = Map::new();
    let nets = |one: Option<String>, many: Vec<String>| {
        let all = one.into_iter().chain(many);
        all.map(|net| range(&net)).collect::<Result<Vec<_>, _>>()
    };
    put(&mut converted, "nets", json!(nets(end.net, end.nets)?));
    put(&mut converted, "selector", json!(with_tag(&end.selector, &end.tag, "&&")));
    put(&mut converted, "ports", json!(end.ports));
    put(&mut converted, "notNets", json!(nets(end.not_net, end.not_nets)?));
    // Neither the one nor the other. Upstream joins these by `&&`, too, which lets in who has one.
    let not = with_tag(&end.not_selector, &end.not_tag, "||");
    put(&mut converted, "notSelector", json!(not));
    put(&mut converted, "notPorts", json!(end.not_ports));
    Ok(Value::Object(converted))
}

/// A selector that also asks for a tag: a label with an empty value.
fn with_tag(old: &str, tag: &str, operator: &str) -> String {
    let old = selector(old);
    match (old.as_str(), tag) {
        (_, "") => old,
        ("", tag) => format!("{tag} == ''"),
        (old, tag) => format!("({old}) {operator} {tag} == ''"),
    }
}

/// A selector with today's name of the namespace's label.
pub fn selector(old: &str) -> String {
    v1_names::label(old)
}

/// A range with its host bits cleared, or an address as one.
pub fn range(text: &str) -> Result<String, ConvertError> {
    let net = text.parse::<IpNet>().ok().map(|net| net.trunc());
    let net = net.or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()));
    let net = net.ok_or_else(|| ConvertError::value("net", text, "is no CIDR"))?;
    Ok(net.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(old: Value) -> Value {
        convert(serde_json::from_value(old).unwrap()).unwrap()
    }

    #[test]
    fn a_rule_gets_its_new_form() {
        let old = json!({
            "action": "allow", "protocol": "icmpv6", "icmp": {"type": 8, "code": 0},
            "source": {"tag": "web", "selector": "a == 'b' || has(c)", "net": "10.0.0.1/8"},
            "destination": {"!tag": "db", "!selector": "calico/k8s_ns == 'x'",
                "!ports": [80, "1:9"], "nets": ["10.1.0.0/16", "192.0.2.1"]}
        });
        let new = json!({
            "action": "Allow", "protocol": "ICMPv6", "icmp": {"type": 8, "code": 0},
            "source": {"nets": ["10.0.0.0/8"], "selector": "(a == 'b' || has(c)) && web == ''"},
            "destination": {"nets": ["10.1.0.0/16", "192.0.2.1/32"],
                "notSelector": "(projectcalico.org/namespace == 'x') || db == ''",
                "notPorts": [80, "1:9"]}
        });
        assert_eq!(rule(old).to_string(), new.to_string());
        let old = json!({"action": "next-tier", "!protocol": 6, "source": {"tag": "t"}});
        let new = json!({"action": "Pass", "notProtocol": 6, "source": {"selector": "t == ''"}});
        assert_eq!(rule(old), new);
        assert_eq!(rule(json!({"action": "deny", "source": {}})), json!({"action": "Deny"}));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for old in
            [json!({"action": "maybe"}), json!({"source": {"net": "10.0.0.0/40"}, "action": "log"})]
        {
            let parsed: Rule = serde_json::from_value(old.clone()).unwrap();
            assert!(convert(parsed).is_err(), "{old}");
        }
        assert!(serde_json::from_value::<Rule>(json!({"action": "log", "dest": {}})).is_err());
    }
}
