//! Upstream's result as it should have been: fix 29 of `reference/cni-plugin.md` section 10. It tells
//! of both ends what is in the kernel (MAC, MTU), and of routes those that are really there: one to
//! each address, where upstream repeats the prefixes of IPAM's blocks.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

/// The MAC of every host end.
pub const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";

/// The text of the answer to a step, with the fix where there is a result to fix.
pub fn result(step: &Value) -> Result<Option<String>> {
    let Some(stdout) = step["stdout"].as_str() else { return Ok(None) };
    let Ok(mut answer) = serde_json::from_str::<Value>(stdout) else {
        return Ok(Some(stdout.to_owned()));
    };
    if step["do"]["env"]["CNI_COMMAND"] != "ADD" {
        return Ok(Some(stdout.to_owned()));
    }
    let version = answer["cniVersion"].as_str().context("no version")?.to_owned();
    for member in ["ip4", "ip6"] {
        if let Some(ip) = answer.get_mut(member) {
            let address = ip["ip"].clone();
            routes(&mut ip["routes"], &[address]);
        }
    }
    if let Some(ips) = answer.get("ips").and_then(Value::as_array) {
        let addresses: Vec<Value> = ips.iter().map(|ip| ip["address"].clone()).collect();
        if answer.get("routes").is_some() {
            routes(&mut answer["routes"], &addresses);
        }
        let interfaces = answer["interfaces"].as_array_mut().context("no interfaces")?;
        for (at, interface) in interfaces.iter_mut().enumerate() {
            let mac = if at == 0 { json!(HOST_MAC) } else { interface["mac"].clone() };
            *interface = ordered(interface, mac, mtu(step)?, &version);
        }
    }
    Ok(Some(pretty(&answer)?))
}

/// One route to each address, where there are routes.
fn routes(list: &mut Value, addresses: &[Value]) {
    if list.is_array() {
        *list = addresses.iter().map(|address| json!({"dst": address})).collect();
    }
}

/// An interface with its members in the order of its version; those before 1.0.0 have no MTU.
fn ordered(interface: &Value, mac: Value, mtu: Value, version: &str) -> Value {
    let order: &[&str] = match version < "1.0.0" {
        true => &["name", "mac", "sandbox"],
        false => &["mac", "mtu", "name", "sandbox"],
    };
    let member = |name: &&str| {
        let value = match *name {
            "mac" => Some(mac.clone()),
            "mtu" => Some(mtu.clone()),
            name => interface.get(name).cloned(),
        };
        Some(((*name).to_owned(), value?))
    };
    Value::Object(order.iter().filter_map(member).collect::<Map<_, _>>())
}

/// What upstream's kernel showed as the MTU of the links; where it wasn't looked at, what was
/// configured or else usual.
fn mtu(step: &Value) -> Result<Value> {
    let links = step["kernel"]["host_links"].as_object();
    if let Some(link) = links.and_then(|links| links.values().next()) {
        return Ok(link["link"]["mtu"].clone());
    }
    let stdin = step["do"]["stdin"].as_str().context("no input")?;
    let config: Value = serde_json::from_str(stdin)?;
    Ok(config["mtu"].as_u64().filter(|mtu| *mtu != 0).unwrap_or(1500).into())
}

fn pretty(value: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(String::from_utf8(bytes)?)
}
