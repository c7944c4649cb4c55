use super::*;

fn spec(policy: Value) -> Value {
    let input = json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": policy});
    convert(input.as_object().unwrap()).unwrap()["spec"].take()
}

#[test]
fn a_policy_keeps_its_name_and_gets_its_rules() {
    let input = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "db", "labels": {"team": "a"}, "uid": "x", "generation": 1},
        "spec": {
            "podSelector": {"matchLabels": {"role": "db"}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [
                    {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                    {"namespaceSelector": {"matchLabels": {"project": "x"}}},
                    {"podSelector": {"matchLabels": {"role": "web"}}}
                ],
                "ports": [{"protocol": "TCP", "port": 6379}, {"port": "http"},
                    {"protocol": "UDP", "port": 5000, "endPort": 5010}]
            }]
        }
    });
    let pods = "projectcalico.org/orchestrator == 'k8s'";
    let rule = |protocol: &str, source: Value, ports: Value| {
        json!({"action": "Allow", "protocol": protocol, "source": source,
            "destination": {"ports": ports}})
    };
    let sources = [
        json!({"nets": ["172.17.0.0/16"], "notNets": ["172.17.1.0/24"]}),
        json!({"selector": pods, "namespaceSelector": "project == 'x'"}),
        json!({"selector": format!("{pods} && role == 'web'")}),
    ];
    let tcp = sources.clone().map(|source| rule("TCP", source, json!([6379, "http"])));
    let udp = sources.map(|source| rule("UDP", source, json!(["5000:5010"])));
    let expected = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": "db", "namespace": "default", "labels": {"team": "a"}},
        "spec": {"order": 1000, "ingress": tcp.into_iter().chain(udp).collect::<Vec<_>>(),
            "selector": format!("{pods} && role == 'db'"), "types": ["Ingress"]}
    });
    assert_eq!(convert(input.as_object().unwrap()).unwrap(), expected);
}

#[test]
fn what_is_left_out_has_its_meaning() {
    let pods = "projectcalico.org/orchestrator == 'k8s'";
    // All pods, nothing allowed.
    assert_eq!(
        spec(json!({"podSelector": {}})),
        json!({"order": 1000, "selector": pods, "types": ["Ingress"]})
    );
    // Everything allowed, in both directions.
    let all = spec(json!({"podSelector": {}, "ingress": [{}], "egress": [{}]}));
    assert_eq!(all["ingress"], json!([{"action": "Allow"}]));
    assert_eq!(
        (&all["egress"], &all["types"]),
        (&json!([{"action": "Allow"}]), &json!(["Ingress", "Egress"]))
    );
    // All namespaces, and a protocol with all of its ports.
    let egress = spec(
        json!({"egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "SCTP"}]}]}),
    );
    let expected = json!([{"action": "Allow", "protocol": "SCTP",
        "destination": {"selector": pods, "namespaceSelector": "all()"}}]);
    assert_eq!(egress["egress"], expected);
}

#[test]
fn expressions_become_selectors() {
    let old = json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["x", "y"]},
        {"key": "env", "operator": "NotIn", "values": ["dev"]},
        {"key": "live", "operator": "Exists"}, {"key": "old", "operator": "DoesNotExist"}]});
    let old: Selector = serde_json::from_value(old).unwrap();
    let new = selector(&old).unwrap();
    let expected = "a == '1' && b == '2' && tier in { 'x', 'y' } && env not in { 'dev' } && \
                    has(live) && ! has(old)";
    assert_eq!(new, expected);
    libcalico::selector::Selector::parse(&new).unwrap();
}

#[test]
fn what_is_no_policy_is_refused() {
    for policy in [
        json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
        json!({"ingress": [{"to": [{}]}]}),
        json!({"ingress": [{"ports": [{"endPort": 9}]}]}),
        json!({"ingres": []}),
        json!({"policyTypes": ["Sideways"]}),
    ] {
        let input = json!({"metadata": {"name": "p"}, "spec": policy});
        assert!(convert(input.as_object().unwrap()).is_err(), "{input}");
    }
    assert!(convert(json!({"spec": {}}).as_object().unwrap()).is_err());
}
