//! The texts of a short result: rows Y of the acceptance list.

use super::*;

fn text(found: u32, requested: u32, messages: &[&str], reserved: bool) -> Option<String> {
    let one = Assigned {
        address: "10.0.0.1".parse().expect("an address"),
        block_prefix_len: 26,
        pool: None,
        sequence_number: 0,
        reused: false,
    };
    FamilyResult {
        addresses: vec![one; found as usize],
        requested,
        messages: messages.iter().map(|message| (*message).to_owned()).collect(),
        error: None,
        host_reserved: reserved.then(|| "windows-reserved-ipam-handle".to_owned()),
    }
    .partial_fulfillment(Family::V4)
}

#[test]
fn y1_to_y7_partial_fulfillment() {
    assert_eq!((text(1, 1, &[], false), text(256, 256, &["m"], true)), (None, None));
    for message in [
        "No more free affine blocks and strict affinity enabled",
        "Need to allocate an IPAM block but could not - limit of 20 blocks reached for this node",
        "No IPs available in pools: [10.0.0.0/24]",
    ] {
        let expected = format!("Assigned 0 out of 1 requested IPv4 addresses; {message}");
        assert_eq!(text(0, 1, &[message], false), Some(expected));
    }
    assert_eq!(
        text(0, 1, &[], true).as_deref(),
        Some(
            "Assigned 0 out of 1 requested IPv4 addresses; HostReservedAttr: \
             windows-reserved-ipam-handle"
        )
    );
    assert_eq!(
        text(0, 1, &["limit", "pools"], true).as_deref(),
        Some(
            "Assigned 0 out of 1 requested IPv4 addresses; limit; pools; HostReservedAttr: \
             windows-reserved-ipam-handle"
        )
    );
}

#[test]
fn a_handle_that_nobody_could_read_again_is_refused() {
    assert!(check_handle(Some("net.c1")).is_ok() && check_handle(None).is_ok());
    let error = check_handle(Some("a/b")).expect_err("a slash").to_string();
    assert_eq!(error, "invalid handle \"a/b\": it must not contain a slash");
    assert!(check_name("host", "").is_err());
}
