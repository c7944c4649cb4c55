//! Reading, drawing to the limits, and dependencies, for both directions.

use super::*;
use crate::resources::metadata::StringMap;
use serde_json::json;

/// The controls that annotations make, and how many warnings there are. Names without a prefix are
/// Calico's.
fn read(annotations: &[(&str, &str)]) -> (Value, usize) {
    let full = |name: &str| match name.contains('/') {
        true => name.to_owned(),
        false => format!("qos.projectcalico.org/{name}"),
    };
    let values: StringMap =
        annotations.iter().map(|(name, value)| (full(name), (*value).to_owned())).collect();
    let mut warnings = Vec::new();
    let read = controls(Annotations::of(&values, "pod", "shop/cart-0"), &mut warnings);
    (read.map(Value::Object).unwrap_or_default(), warnings.len())
}

/// Annotations, the controls that they make, and how many warnings there are. `*` stands for the
/// direction, and `in/` for the beginning of Kubernetes' own name.
type Case<'a> = (&'a [(&'a str, &'a str)], Value, usize);

/// The same table for both directions.
fn check(table: &[Case<'_>]) {
    for (annotations, expected, warnings) in table {
        for direction in ["ingress", "egress"] {
            let name = |name: &str| {
                name.replace("in/", &format!("kubernetes.io/{direction}-")).replace("*", direction)
            };
            let named: Vec<(String, &str)> =
                annotations.iter().map(|(key, value)| (name(key), *value)).collect();
            let named: Vec<(&str, &str)> =
                named.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            let expected: Value = serde_json::from_str(&name(&expected.to_string())).unwrap();
            assert_eq!(read(&named), (expected, *warnings), "{named:?}");
        }
    }
}

#[test]
fn every_limit_is_read() {
    let (read, warnings) = read(&[
        ("ingressBandwidth", "1M"),
        ("ingressBurst", "2M"),
        ("ingressPeakrate", "3M"),
        ("ingressMinburst", "4k"),
        ("egressBandwidth", "5M"),
        ("egressBurst", "6M"),
        ("egressPeakrate", "7M"),
        ("egressMinburst", "8k"),
        ("ingressPacketRate", "10"),
        ("ingressPacketBurst", "11"),
        ("egressPacketRate", "12"),
        ("egressPacketBurst", "13"),
        ("ingressMaxConnections", "14"),
        ("egressMaxConnections", "15"),
        ("dscp", "AF11"),
    ]);
    // As text, because the order counts.
    assert_eq!(
        read.to_string(),
        "{\"ingressBandwidth\":1000000,\"ingressBurst\":2000000,\"ingressPeakrate\":3000000,\
         \"ingressMinburst\":4000,\"egressBandwidth\":5000000,\"egressBurst\":6000000,\
         \"egressPeakrate\":7000000,\"egressMinburst\":8000,\"ingressPacketRate\":10,\
         \"ingressPacketBurst\":11,\"egressPacketRate\":12,\"egressPacketBurst\":13,\
         \"ingressMaxConnections\":14,\"egressMaxConnections\":15,\"dscp\":\"AF11\"}"
    );
    assert_eq!(warnings, 0);
    assert_eq!(self::read(&[]), (Value::Null, 0));
}

#[test]
fn what_is_beyond_a_limit_is_drawn_to_it() {
    let burst = DEFAULT_BURST;
    check(&[
        (&[("*Bandwidth", "999")], json!({"*Bandwidth": 1000, "*Burst": burst}), 1),
        (&[("*Bandwidth", "0")], json!({"*Bandwidth": 1000, "*Burst": burst}), 1),
        (&[("*Bandwidth", "-5")], json!({"*Bandwidth": 1000, "*Burst": burst}), 1),
        (&[("*Bandwidth", "1k")], json!({"*Bandwidth": 1000, "*Burst": burst}), 0),
        (
            &[("*Bandwidth", "1P")],
            json!({"*Bandwidth": 1_000_000_000_000_000_i64, "*Burst": burst}),
            0,
        ),
        (
            &[("*Bandwidth", "1.1P")],
            json!({"*Bandwidth": 1_000_000_000_000_000_i64, "*Burst": burst}),
            1,
        ),
        (
            &[("*Bandwidth", "1M"), ("*Burst", "999")],
            json!({"*Bandwidth": 1_000_000, "*Burst": 1000}),
            1,
        ),
        (
            &[("*Bandwidth", "1M"), ("*Burst", "35G")],
            json!({"*Bandwidth": 1_000_000, "*Burst": 34_359_738_360_i64}),
            1,
        ),
        (
            &[("*Bandwidth", "1P"), ("*Peakrate", "2P")],
            json!({
                "*Bandwidth": 1_000_000_000_000_000_i64, "*Burst": burst,
                "*Peakrate": 1_010_000_000_000_000_i64,
            }),
            1,
        ),
        (
            &[("*Bandwidth", "1k"), ("*Peakrate", "1001"), ("*Minburst", "1")],
            json!({"*Bandwidth": 1000, "*Burst": burst, "*Peakrate": 1010, "*Minburst": 1000}),
            2,
        ),
        (
            &[("*Bandwidth", "1k"), ("*Peakrate", "2k"), ("*Minburst", "1G")],
            json!({
                "*Bandwidth": 1000, "*Burst": burst, "*Peakrate": 2000, "*Minburst": 100_000_000,
            }),
            1,
        ),
        (&[("*PacketRate", "0")], json!({"*PacketRate": 1, "*PacketBurst": 5}), 1),
        (&[("*PacketRate", "10001")], json!({"*PacketRate": 10_000, "*PacketBurst": 5}), 1),
        (
            &[("*PacketRate", "9"), ("*PacketBurst", "10001")],
            json!({"*PacketRate": 9, "*PacketBurst": 10_000}),
            1,
        ),
        (&[("*MaxConnections", "0")], json!({"*MaxConnections": 1}), 1),
        (&[("*MaxConnections", "4294967295")], json!({"*MaxConnections": 4_294_967_295_i64}), 0),
        (&[("*MaxConnections", "5G")], json!({"*MaxConnections": 4_294_967_295_i64}), 1),
    ]);
}

#[test]
fn calicos_bandwidth_is_before_kubernetes() {
    let burst = DEFAULT_BURST;
    check(&[
        (&[("in/bandwidth", "10M")], json!({"*Bandwidth": 10_000_000, "*Burst": burst}), 0),
        (&[("in/bandwidth", "1")], json!({"*Bandwidth": 1000, "*Burst": burst}), 1),
        (
            &[("in/bandwidth", "10M"), ("*Bandwidth", "20M")],
            json!({"*Bandwidth": 20_000_000, "*Burst": burst}),
            0,
        ),
        // Even one that can't be read.
        (&[("in/bandwidth", "10M"), ("*Bandwidth", "fast")], Value::Null, 1),
        (&[("in/bandwidth", "10M"), ("*Bandwidth", "")], Value::Null, 1),
    ]);
}

#[test]
fn what_lacks_its_foundation_is_left_out() {
    let burst = DEFAULT_BURST;
    check(&[
        (&[("*Burst", "1M")], Value::Null, 1),
        (&[("*Peakrate", "1M")], Value::Null, 1),
        (&[("*Minburst", "1M")], Value::Null, 1),
        (&[("*PacketBurst", "10")], Value::Null, 1),
        (
            &[("*Bandwidth", "2M"), ("*Peakrate", "2M"), ("*Minburst", "2k")],
            json!({"*Bandwidth": 2_000_000, "*Burst": burst}),
            2,
        ),
        (
            &[("*Bandwidth", "2M"), ("*Burst", "often")],
            json!({"*Bandwidth": 2_000_000, "*Burst": burst}),
            1,
        ),
        (&[("*PacketRate", "x"), ("*PacketBurst", "3")], Value::Null, 2),
        (&[("*MaxConnections", "many")], Value::Null, 1),
    ]);
}

#[test]
fn code_points_are_numbers_or_names() {
    for (text, expected) in [
        ("0", json!(0)),
        ("63", json!(63)),
        ("AF11", json!("AF11")),
        ("af43", json!("af43")),
        ("DF", json!("DF")),
        ("ef", json!("ef")),
        ("CS0", json!("CS0")),
        ("CS6", json!("CS6")),
    ] {
        assert_eq!(read(&[("dscp", text)]), (json!({ "dscp": expected }), 0), "{text}");
    }
    for text in ["64", "256", "-1", "CS7", "AF14", "", "1.5", "AF 11"] {
        assert_eq!(read(&[("dscp", text)]), (Value::Null, 1), "{text:?}");
    }
}
