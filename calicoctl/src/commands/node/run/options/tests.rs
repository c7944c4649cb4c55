use super::*;

fn read(flags: &Flags<'_>, variables: &[(&str, &str)]) -> Result<Options, OptionError> {
    let lookup = |name: &str| {
        variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
    };
    Options::read(flags, lookup)
}

#[test]
fn nothing_said_means_upstreams_defaults() {
    let options = read(&Flags::default(), &[("IP", ""), ("CLUSTER_TYPE", " ")]).unwrap();
    assert_eq!(options.wanted, [Wanted::Keep, Wanted::Keep]);
    assert!(options.has_network && !options.may_share_addresses && !options.waits);
    assert!(options.cluster_type.is_empty() && options.as_number.is_none());
    let [Some(v4), Some(v6)] = options.pools else { panic!("no pools") };
    assert!(v4.nat_outgoing && !v6.nat_outgoing && v4.cidr.is_none());
    assert_eq!((v4.ipip, v4.vxlan, v4.block_size), (EncapMode::Never, EncapMode::Never, 0));
}

#[test]
fn flags_win_over_variables() {
    let flags = Flags { ip: Some("192.0.2.1"), as_number: Some("1.10"), ..Flags::default() };
    let options = read(
        &flags,
        &[
            ("IP", "192.0.2.9"),
            ("AS", "64999"),
            ("IP6", "2001:db8::1/64"),
            ("CALICO_IPV4POOL_CIDR", "10.7.0.0/16"),
            ("CALICO_IPV4POOL_IPIP", "cross-subnet"),
            ("CALICO_IPV6POOL_CIDR", "none"),
            ("CLUSTER_TYPE", "k8s, bgp"),
            ("DISABLE_NODE_IP_CHECK", "TRUE"),
        ],
    )
    .unwrap();
    let net = "2001:db8::1/64".parse().unwrap();
    assert_eq!(options.wanted[0], Wanted::Address("192.0.2.1".parse().unwrap()));
    assert_eq!(options.wanted[1], Wanted::Net(net));
    assert_eq!(options.as_number, Some(AsNumber(65546)));
    let [Some(v4), None] = options.pools else { panic!("pools") };
    assert_eq!(v4.cidr, "10.7.0.0/16".parse().ok());
    assert_eq!(v4.ipip, EncapMode::CrossSubnet);
    assert_eq!(options.cluster_type, ["k8s", "bgp"]);
    assert!(options.may_share_addresses);
}

#[test]
fn what_makes_no_sense_is_named() {
    for (variable, value) in [
        ("IP", "2001:db8::1"),
        ("IP", "300.1.1.1"),
        ("IP6", "192.0.2.1"),
        ("AS", "4294967296"),
        ("IP_AUTODETECTION_METHOD", "guess"),
        ("IP6_AUTODETECTION_METHOD", "cidr=x"),
        ("CALICO_NETWORKING_BACKEND", "gobgp"),
        ("CALICO_NETWORKING_BACKEND", "ospf"),
        ("CALICO_IPV4POOL_CIDR", "fd00::/48"),
        ("CALICO_IPV6POOL_CIDR", "10.0.0.0/16"),
        ("CALICO_IPV4POOL_BLOCK_SIZE", "many"),
        ("CALICO_IPV4POOL_IPIP", "Sometimes"),
        ("CALICO_IPV4POOL_NAT_OUTGOING", "perhaps"),
        ("NO_DEFAULT_POOLS", "2"),
    ] {
        let error = read(&Flags::default(), &[(variable, value)]).unwrap_err();
        assert_eq!((error.name.as_str(), error.value.as_str()), (variable, value), "{error}");
    }
    let flags = Flags { backend: Some("gobgp"), ..Flags::default() };
    let error = read(&flags, &[]).unwrap_err().to_string();
    assert_eq!(error, "--backend \"gobgp\" ended with Calico 3.0: use bird or none");
    let both = [("CALICO_IPV4POOL_IPIP", "Always"), ("CALICO_IPV4POOL_VXLAN", "Always")];
    assert!(read(&Flags::default(), &both).is_err());
}
