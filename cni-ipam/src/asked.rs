//! What the runtime asks for beside the configuration: addresses, a MAC, labels. By `CNI_ARGS`, by
//! `runtimeConfig` (where the plugin's entry declares the capabilities `ips` and `mac`), or by
//! `args.cni`, as CNI's conventions have it. Upstream reads the first only.

use std::net::IpAddr;

use cni::code;
use serde::Deserialize;
use serde_json::Value;

use crate::conf::NetConf;

/// The addresses that are asked for: one of each family at most. The same one may be asked for in
/// several ways, as podman does.
pub fn addresses(conf: &NetConf, args: &cni::Args) -> Result<Vec<IpAddr>, cni::Error> {
    let mut found = Vec::new();
    if let Some(text) = args.get("IP").filter(|text| !text.is_empty()) {
        found.push(ip(text).ok_or_else(|| {
            cni::Error::new(
                code::INVALID_ENVIRONMENT,
                format!("CNI_ARGS: IP \"{text}\" is no IP address"),
            )
        })?);
    }
    for (field, list) in [
        ("runtimeConfig.ips", cni::member(&conf.runtime_config, "ips")),
        ("args.cni.ips", args_cni(conf, "ips")),
    ] {
        for text in cni::read_member::<Vec<String>>(field, list)? {
            let address = ip(&text)
                .ok_or_else(|| invalid(format!("{field}: \"{text}\" is no IP address")))?;
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    let v4 = found.iter().filter(|address| address.is_ipv4()).count();
    if v4 > 1 || found.len() - v4 > 1 {
        return Err(cni::Error::new(
            code::UNSUPPORTED_FIELD,
            format!(
                "the addresses {} are asked for by IP in CNI_ARGS, runtimeConfig.ips or \
                 args.cni.ips: ask for one, or for one of each family",
                found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
            ),
        ));
    }
    Ok(found)
}

/// The MAC that is asked for, as text, and where.
pub fn mac(conf: &NetConf) -> Result<Option<(&'static str, String)>, cni::Error> {
    const FIELD: &str = "runtimeConfig.mac";
    let text: String = cni::read_member(FIELD, cni::member(&conf.runtime_config, "mac"))?;
    Ok((!text.is_empty()).then_some((FIELD, text)))
}

/// The labels that are asked for.
pub fn labels(conf: &NetConf) -> Result<Vec<(String, String)>, cni::Error> {
    #[derive(Deserialize)]
    struct Label {
        #[serde(rename = "key")]
        key: String,
        #[serde(rename = "value", default)]
        value: String,
    }
    let labels: Vec<Label> = cni::read_member("args.cni.labels", args_cni(conf, "labels"))?;
    Ok(labels.into_iter().map(|label| (label.key, label.value)).collect())
}

fn args_cni<'a>(conf: &'a NetConf, member: &str) -> Option<&'a Value> {
    cni::member(cni::member(&conf.args, "cni")?, member)
}

/// An address, with or without a prefix length.
fn ip(text: &str) -> Option<IpAddr> {
    text.split_once('/').map_or(text, |(address, _)| address).parse().ok()
}

fn invalid(message: String) -> cni::Error {
    cni::Error::new(code::INVALID_CONFIG, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conf(runtime_config: Value, cni: Value) -> NetConf {
        NetConf { runtime_config, args: json!({"cni": cni}), ..NetConf::default() }
    }

    #[test]
    fn an_address_of_each_family_may_be_asked_for_in_any_way_and_in_several() {
        let ask = |args: &str, runtime_config: Value, cni: Value| {
            let args: cni::Args = args.parse().unwrap();
            let found = addresses(&conf(runtime_config, cni), &args);
            found.map(|found| found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
        };
        let (one, other) = (json!({"ips": ["10.0.0.1/24"]}), json!({"ips": ["10.0.0.2"]}));
        assert_eq!(ask("", Value::Null, Value::Null), Ok(String::new()));
        assert_eq!(ask("", json!({"ips": []}), json!({})), Ok(String::new()));
        let expected = Ok("10.0.0.1".to_owned());
        assert_eq!(ask("IP=10.0.0.1", Value::Null, Value::Null), expected);
        assert_eq!(ask("IP=10.0.0.1/24", Value::Null, Value::Null), expected);
        assert_eq!(ask("", one.clone(), Value::Null), expected);
        assert_eq!(ask("IP=", Value::Null, one.clone()), expected);
        assert_eq!(ask("IP=10.0.0.1", one.clone(), one.clone()), expected);
        let both = json!({"ips": ["fd00::1/64", "10.0.0.1/24"]});
        assert_eq!(ask("", both.clone(), Value::Null), Ok("fd00::1 10.0.0.1".to_owned()));
        assert_eq!(ask("IP=10.0.0.1", both.clone(), Value::Null), Ok("10.0.0.1 fd00::1".into()));
        for (args, runtime_config, cni, code, names) in [
            ("IP=fd00::2", both, Value::Null, code::UNSUPPORTED_FIELD, "fd00::2, fd00::1"),
            ("IP=x", Value::Null, Value::Null, code::INVALID_ENVIRONMENT, "\"x\""),
            ("", json!({"ips": ["y"]}), Value::Null, code::INVALID_CONFIG, "runtimeConfig.ips"),
            ("", Value::Null, json!({"ips": "z"}), code::DECODING_FAILURE, "args.cni.ips"),
            ("", one, other, code::UNSUPPORTED_FIELD, "10.0.0.1, 10.0.0.2"),
        ] {
            let error = ask(args, runtime_config, cni).unwrap_err();
            assert!(error.code == code && error.msg.contains(names), "{error:?}");
        }
    }

    #[test]
    fn labels_and_a_mac_are_read_or_refused() {
        let asks = conf(
            json!({"mac": "ca:fe:ca:fe:ca:fe"}),
            json!({"labels": [{"key": "app", "value": "cart"}, {"key": "empty"}]}),
        );
        assert_eq!(mac(&asks).unwrap().unwrap().1, "ca:fe:ca:fe:ca:fe");
        let expected = [("app".into(), "cart".into()), ("empty".into(), String::new())];
        assert_eq!(labels(&asks).unwrap(), expected);
        let wrong = conf(json!({"mac": 7}), json!({"labels": [{"value": "cart"}]}));
        assert!(mac(&wrong).unwrap_err().msg.contains("runtimeConfig.mac"));
        assert!(labels(&wrong).unwrap_err().msg.contains("args.cni.labels"));
        let nothing = conf(Value::Null, Value::Null);
        assert!(mac(&nothing).unwrap().is_none() && labels(&nothing).unwrap().is_empty());
    }
}
