//! How an endpoint is written to its pod (`reference/cni-plugin.md` section 6.4): bodies of strategic
//! merge patches of `pods/<name>/status`.

use serde_json::{Map, Value, json};

use super::annotation;
use super::pod_endpoint::PodRecord;
use crate::resources::WorkloadEndpoint;

/// What ADD sends. The uid keeps it from a later pod of the same name, whose uid is another one;
/// upstream sends none.
pub fn of_addition(endpoint: &WorkloadEndpoint) -> Value {
    let spec = &endpoint.spec;
    let mut annotations = Map::new();
    if let Some(first) = spec.ip_networks.first() {
        annotations.insert(annotation::POD_IP.into(), first.clone().into());
        annotations.insert(annotation::POD_IPS.into(), spec.ip_networks.join(",").into());
        if !spec.container_id.is_empty() {
            annotations.insert(annotation::CONTAINER_ID.into(), spec.container_id.clone().into());
        }
    }
    body(annotations, &endpoint.metadata.uid, "")
}

/// What DEL sends. The container's id stays, so that a later DEL of another sandbox can still be
/// told apart. Revision and uid are conditions, where they are known.
pub fn of_removal(pod: &PodRecord) -> Value {
    let emptied = [annotation::POD_IP, annotation::POD_IPS];
    let annotations = emptied.into_iter().map(|name| (name.to_owned(), json!(""))).collect();
    body(annotations, &pod.uid, &pod.resource_version)
}

fn body(annotations: Map<String, Value>, uid: &str, resource_version: &str) -> Value {
    let mut metadata = json!({ "annotations": annotations });
    for (name, condition) in [("resourceVersion", resource_version), ("uid", uid)] {
        if !condition.is_empty() {
            metadata[name] = condition.into();
        }
    }
    json!({ "metadata": metadata })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::WorkloadEndpointSpec;

    fn endpoint(networks: &[&str], container_id: &str, uid: &str) -> WorkloadEndpoint {
        let spec = WorkloadEndpointSpec {
            container_id: container_id.into(),
            ip_networks: networks.iter().map(|text| (*text).to_owned()).collect(),
            ..WorkloadEndpointSpec::default()
        };
        let mut endpoint = WorkloadEndpoint::new("node--a1-k8s-cart--0-eth0", spec);
        endpoint.metadata.uid = uid.into();
        endpoint
    }

    #[test]
    fn an_addition_sets_the_three_annotations() {
        for (networks, first, all) in [
            // K25
            (vec!["20.0.0.111/32"], "20.0.0.111/32", "20.0.0.111/32"),
            // K26
            (
                vec!["10.65.14.7/32", "fd00:65::e07/128"],
                "10.65.14.7/32",
                "10.65.14.7/32,fd00:65::e07/128",
            ),
        ] {
            assert_eq!(
                of_addition(&endpoint(&networks, "4be1", "u-1")),
                json!({"metadata": {
                    "annotations": {
                        "cni.projectcalico.org/podIP": first,
                        "cni.projectcalico.org/podIPs": all,
                        "cni.projectcalico.org/containerID": "4be1",
                    },
                    "uid": "u-1",
                }})
            );
        }
    }

    #[test]
    fn an_addition_says_only_what_is_known() {
        assert_eq!(
            of_addition(&endpoint(&["10.65.14.7/32"], "", "")),
            json!({"metadata": {"annotations": {
                "cni.projectcalico.org/podIP": "10.65.14.7/32",
                "cni.projectcalico.org/podIPs": "10.65.14.7/32",
            }}})
        );
        // Without addresses what is there stays untouched.
        assert_eq!(
            of_addition(&endpoint(&[], "4be1", "u-1")),
            json!({"metadata": {"annotations": {}, "uid": "u-1"}})
        );
    }

    #[test]
    fn a_removal_empties_the_addresses_under_both_conditions() {
        let emptied = json!({
            "cni.projectcalico.org/podIP": "", "cni.projectcalico.org/podIPs": "",
        });
        let pod = PodRecord {
            uid: "u-1".into(),
            resource_version: "4711".into(),
            container_id: "4be1".into(),
            ..PodRecord::default()
        };
        assert_eq!(
            of_removal(&pod),
            json!({"metadata": {
                "annotations": emptied, "resourceVersion": "4711", "uid": "u-1",
            }})
        );
        assert_eq!(
            of_removal(&PodRecord::default()),
            json!({"metadata": {"annotations": emptied}})
        );
    }
}
