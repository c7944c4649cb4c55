//! Fields that are accepted and do nothing here (`reference/cni-plugin.md` section 1.2): each is
//! warned of once a container, so that nobody waits for what it says.

use serde_json::Value;

const NO_KUBERNETES: &str = "has no effect while the datastore is not the Kubernetes API";
const WINDOWS: &str = "is for Windows";

/// The fields, by their path, and why.
const FIELDS: [(&str, &str); 22] = [
    ("etcd_authority", "has no effect: write \"etcd_endpoints\""),
    ("etcd_scheme", "has no effect: write \"etcd_endpoints\""),
    ("hostname", "is deprecated: write \"nodename\""),
    ("calico_api_group", NO_KUBERNETES),
    ("qps", NO_KUBERNETES),
    ("burst", NO_KUBERNETES),
    ("kubernetes.kubeconfig", NO_KUBERNETES),
    ("kubernetes.k8s_api_root", NO_KUBERNETES),
    ("kubernetes.node_name", NO_KUBERNETES),
    ("policy.k8s_api_root", NO_KUBERNETES),
    ("policy.k8s_auth_token", NO_KUBERNETES),
    ("policy.k8s_client_certificate", NO_KUBERNETES),
    ("policy.k8s_client_key", NO_KUBERNETES),
    ("policy.k8s_certificate_authority", NO_KUBERNETES),
    ("mode", WINDOWS),
    ("vxlan_mac_prefix", WINDOWS),
    ("vxlan_vni", WINDOWS),
    ("windows_pod_deletion_timestamp_timeout", WINDOWS),
    ("windows_use_single_network", WINDOWS),
    ("windows_disable_default_deny_all_policy", WINDOWS),
    ("windows_loopback_DSR", WINDOWS),
    ("runtimeConfig.dns", WINDOWS),
];

/// Writes a warning for each of them that says something.
pub fn warn(config: &cni::NetworkConfig) {
    for (field, why) in present(config) {
        tracing::warn!("the field \"{field}\" {why}");
    }
}

fn present(config: &cni::NetworkConfig) -> Vec<(&'static str, &'static str)> {
    let says_something = |path: &str| {
        let found = Some(config.document());
        let value = path.split('.').fold(found, |value, name| cni::member(value?, name));
        !matches!(value, None | Some(Value::Bool(false)))
            && value.is_none_or(|value| *value != "" && *value != 0)
    };
    FIELDS.into_iter().filter(|(field, _)| says_something(field)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_something_is_told_once_and_nothing_else() {
        let mut config = json!({
            "name": "net", "qps": 0, "mode": "", "calico_api_group": null, "etcd_scheme": false,
            "policy": {"type": "k8s"}, "kubernetes": "no object",
        });
        let told = |config: &Value| -> Vec<&str> {
            let config = cni::NetworkConfig::decode(config.to_string()).unwrap();
            present(&config).into_iter().map(|(field, _)| field).collect()
        };
        assert_eq!(told(&config), Vec::<&str>::new());
        for (field, _) in FIELDS {
            let mut config = config.clone();
            match field.split_once('.') {
                Some((object, member)) => config[object] = json!({member: "x"}),
                None => config[field] = json!(7),
            }
            assert_eq!(told(&config), [field]);
        }
        config["qps"] = json!(50);
        config["burst"] = json!(100);
        assert_eq!(told(&config), ["qps", "burst"]);
    }
}
