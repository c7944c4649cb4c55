//! Kubernetes' NetworkPolicy as one of Calico's, in the same namespace and under the same name.
//!
//! Its own name, and not that under which Calico mirrors such a policy (`knp.default.…`): those are
//! managed through the Kubernetes API, and nobody could create one from this file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::object::{ConvertError, Metadata, Texts, object, put, read};

/// Where converted policies stand among the others.
const ORDER: u32 = 1000;
/// What all pods have, and nothing else.
const PODS: &str = "projectcalico.org/orchestrator == 'k8s'";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Old {
    #[serde(rename = "name")]
    name: String,
    #[serde(rename = "namespace")]
    namespace: String,
    #[serde(rename = "labels")]
    labels: Texts,
    #[serde(rename = "annotations")]
    annotations: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Policy {
    #[serde(rename = "podSelector")]
    pod_selector: Selector,
    #[serde(rename = "ingress")]
    ingress: Option<Vec<Rule>>,
    #[serde(rename = "egress")]
    egress: Option<Vec<Rule>>,
    #[serde(rename = "policyTypes")]
    types: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    #[serde(rename = "from")]
    from: Vec<Peer>,
    #[serde(rename = "to")]
    to: Vec<Peer>,
    #[serde(rename = "ports")]
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Peer {
    #[serde(rename = "podSelector")]
    pods: Option<Selector>,
    #[serde(rename = "namespaceSelector")]
    namespaces: Option<Selector>,
    #[serde(rename = "ipBlock")]
    range: Option<Range>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Range {
    #[serde(rename = "cidr")]
    cidr: String,
    #[serde(rename = "except")]
    except: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Port {
    #[serde(rename = "protocol")]
    protocol: Option<String>,
    #[serde(rename = "port")]
    port: Option<Value>,
    #[serde(rename = "endPort")]
    end_port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Selector {
    #[serde(rename = "matchLabels")]
    labels: BTreeMap<String, String>,
    #[serde(rename = "matchExpressions")]
    expressions: Vec<Expression>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expression {
    #[serde(rename = "key")]
    key: String,
    #[serde(rename = "operator")]
    operator: String,
    #[serde(rename = "values")]
    values: Vec<String>,
}

/// The end of a packet that the peers of a rule are at.
#[derive(Debug, Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// Converts a NetworkPolicy of `networking.k8s.io/v1`.
pub fn convert(input: &Map<String, Value>) -> Result<Value, ConvertError> {
    let kind = "NetworkPolicy";
    let old: Old = read(kind, input.get("metadata"))?;
    if old.name.is_empty() {
        return Err(ConvertError::Missing { kind, field: "metadata.name" });
    }
    let policy: Policy = read(kind, input.get("spec"))?;
    let types = types(&policy)?;
    let mut spec = Map::new();
    put(&mut spec, "order", json!(ORDER));
    put(&mut spec, "ingress", json!(rules(policy.ingress.unwrap_or_default(), End::Source)?));
    put(&mut spec, "egress", json!(rules(policy.egress.unwrap_or_default(), End::Destination)?));
    let own = selector(&policy.pod_selector)?;
    put(&mut spec, "selector", json!(and([PODS.to_owned(), own])));
    put(&mut spec, "types", json!(types));
    let namespace = match old.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    let metadata = Metadata {
        name: old.name,
        namespace: namespace.to_owned(),
        labels: old.labels,
        annotations: old.annotations,
    };
    Ok(object(kind, metadata, spec))
}

/// Without a word about it, a policy is about ingress, and about egress if it has rules for that.
fn types(policy: &Policy) -> Result<Vec<&'static str>, ConvertError> {
    if policy.types.is_empty() {
        return Ok(match policy.egress {
            Some(_) => vec!["Ingress", "Egress"],
            None => vec!["Ingress"],
        });
    }
    let known = |text: &String| match text.as_str() {
        "Ingress" => Ok("Ingress"),
        "Egress" => Ok("Egress"),
        _ => Err(ConvertError::value("policyTypes", text, "is none of Ingress and Egress")),
    };
    policy.types.iter().map(known).collect()
}

/// A rule for each peer and each protocol: a rule of Calico's has one of each.
fn rules(old: Vec<Rule>, end: End) -> Result<Vec<Value>, ConvertError> {
    let mut rules = Vec::new();
    for rule in old {
        let (peers, others, wrong) = match end {
            End::Source => (rule.from, rule.to, "to"),
            End::Destination => (rule.to, rule.from, "from"),
        };
        if !others.is_empty() {
            return Err(ConvertError::value("rule", wrong, "belongs to the other direction"));
        }
        let mut peers = peers.iter().map(peer).collect::<Result<Vec<_>, _>>()?;
        if peers.is_empty() {
            peers.push(Map::new());
        }
        let mut protocols = protocols(rule.ports)?;
        if protocols.is_empty() {
            protocols.push((None, Vec::new()));
        }
        for (protocol, ports) in &protocols {
            for peer in &peers {
                let mut new = Map::new();
                put(&mut new, "action", json!("Allow"));
                put(&mut new, "protocol", json!(protocol));
                let (mut source, mut destination) = (Map::new(), Map::new());
                match end {
                    End::Source => source.clone_from(peer),
                    End::Destination => destination.clone_from(peer),
                }
                put(&mut destination, "ports", json!(ports));
                put(&mut new, "source", Value::Object(source));
                put(&mut new, "destination", Value::Object(destination));
                rules.push(Value::Object(new));
            }
        }
    }
    Ok(rules)
}

/// The ports by their protocols, in the order of their first mention. A port that isn't named stands
/// for all of its protocol.
#[allow(clippy::type_complexity, reason = "a name would not say more")]
fn protocols(ports: Vec<Port>) -> Result<Vec<(Option<String>, Vec<Value>)>, ConvertError> {
    let mut protocols: Vec<(Option<String>, Vec<Value>, bool)> = Vec::new();
    for port in ports {
        let protocol = Some(port.protocol.unwrap_or_else(|| "TCP".to_owned()));
        let at = match protocols.iter().position(|(other, ..)| *other == protocol) {
            Some(at) => at,
            None => {
                protocols.push((protocol, Vec::new(), false));
                protocols.len() - 1
            }
        };
        let Some((_, list, all)) = protocols.get_mut(at) else { continue };
        match (port.port, port.end_port) {
            (Some(Value::Number(first)), Some(last)) => list.push(json!(format!("{first}:{last}"))),
            (Some(port @ (Value::Number(_) | Value::String(_))), None) => list.push(port),
            (None, None) => *all = true,
            (port, _) => {
                let text = port.unwrap_or_default().to_string();
                return Err(ConvertError::value(
                    "port",
                    &text,
                    "is no port, or no range with endPort",
                ));
            }
        }
    }
    let whole = |(protocol, list, all)| (protocol, if all { Vec::new() } else { list });
    Ok(protocols.into_iter().map(whole).collect())
}

fn peer(peer: &Peer) -> Result<Map<String, Value>, ConvertError> {
    let mut new = Map::new();
    if let Some(range) = &peer.range {
        put(&mut new, "nets", json!([range.cidr]));
        put(&mut new, "notNets", json!(range.except));
        return Ok(new);
    }
    let pods = peer.pods.as_ref().map(selector).transpose()?.unwrap_or_default();
    put(&mut new, "selector", json!(and([PODS.to_owned(), pods])));
    if let Some(namespaces) = &peer.namespaces {
        let namespaces = match selector(namespaces)?.as_str() {
            "" => "all()".to_owned(),
            selector => selector.to_owned(),
        };
        put(&mut new, "namespaceSelector", json!(namespaces));
    }
    Ok(new)
}

fn selector(old: &Selector) -> Result<String, ConvertError> {
    let labels = old.labels.iter().map(|(key, value)| Ok(format!("{key} == {}", quoted(value))));
    let expressions = old.expressions.iter().map(|expression| {
        let key = &expression.key;
        let values =
            || expression.values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ");
        match expression.operator.as_str() {
            "In" => Ok(format!("{key} in {{ {} }}", values())),
            "NotIn" => Ok(format!("{key} not in {{ {} }}", values())),
            "Exists" => Ok(format!("has({key})")),
            "DoesNotExist" => Ok(format!("! has({key})")),
            other => Err(ConvertError::value(
                "operator",
                other,
                "is none of In, NotIn, Exists, DoesNotExist",
            )),
        }
    });
    Ok(and(labels.chain(expressions).collect::<Result<Vec<_>, _>>()?))
}

/// A value in quotes. Those of labels hold none themselves.
fn quoted(value: &str) -> String {
    format!("'{value}'")
}

fn and(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" && ")
}

#[cfg(test)]
mod tests;
