//! Whatever a runtime or another plugin writes: an answer or an error, never a panic.

use cni::{AddResult, Args, Error, NetworkConfig, Version};

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

#[test]
fn network_configurations() {
    let mut seeds = fuzz::objects_with(&["cniVersion", "name", "type"], 40);
    seeds.push(
        br#"{"cniVersion":"1.1.0","name":"n","type":"calico","cni.dev/valid-attachments":
            [{"containerID":"c1","ifname":"eth0"}],"prevResult":{"cniVersion":"1.0.0","ips":
            [{"address":"10.0.0.1/32","interface":0}],"interfaces":[{"name":"eth0"}]}}"#
            .to_vec(),
    );
    fuzz::run("network-configuration", &seeds, |bytes| {
        let Ok(config) = NetworkConfig::decode(bytes) else { return };
        let _ = config.valid_attachments();
        if let Ok(Some(result)) = config.prev_result() {
            let _ = result.to_json(config.result_version());
        }
    });
}

#[test]
fn results_and_errors_of_delegates() {
    let mut seeds = fuzz::objects_with(&["ips"], 30);
    seeds.extend(fuzz::objects_with(&["ip4"], 10));
    seeds.extend(fuzz::objects_with(&["code", "msg"], 20));
    fuzz::run("delegate-answer", &seeds, |bytes| {
        if let Some(error) = Error::from_json(bytes) {
            let answer = error.to_json(Version::LATEST);
            assert!(Error::from_json(answer.as_bytes()).is_some(), "{answer}");
        }
        for version in Version::ALL {
            let Ok(result) = AddResult::from_json(bytes, version) else { continue };
            let Ok(answer) = result.to_json(Version::LATEST) else { continue };
            let again = AddResult::from_json(answer.as_bytes(), Version::LATEST);
            assert_eq!(again.as_ref(), Ok(&result), "{answer}");
        }
    });
}

#[test]
fn arguments() {
    let seeds = fuzz::lines(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1\n\
         IP=10.0.0.7\nK8S_POD_UID=a=b;IP=fd00::1/64\n;;",
    );
    fuzz::run("cni-args", &seeds, |bytes| {
        let Ok(args) = text(bytes).parse::<Args>() else { return };
        let again: Result<Args, _> = args.to_string().parse();
        assert_eq!(again.ok().as_ref(), Some(&args), "{args}");
    });
}
