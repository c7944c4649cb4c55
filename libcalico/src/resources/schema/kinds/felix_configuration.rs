//! FelixConfiguration (`reference/datamodel.md` section 7.11). Its order is that of the golden
//! object that has every field; the words and bounds are those of upstream's schema.

use serde_json::Value;

use super::super::form::*;
use super::super::view::View;
use super::CLUSTER_ROUTES;
use crate::resources::AnyResource;
use crate::resources::schema::field::Check::{AnyCase, Form, OneOf, Port, Range};
use crate::resources::schema::field::{
    Check, Field, TEXT, byte_or_name, duration, flag, int, list, map, natural, object, port, text,
};
use crate::resources::validation::FieldErrors;

/// A boolean that is kept when it is false.
const fn switch(name: &'static str) -> Field {
    flag(name).kept()
}

/// A number that is kept when it is 0.
const fn count(name: &'static str) -> Field {
    int(name).kept()
}

/// A duration that is neither negative nor finer than a millisecond: Felix takes no other.
const fn interval(name: &'static str) -> Field {
    duration(name).kept().checked(&[Form(is_plain_duration, PLAIN_DURATION)])
}

const ENABLED: &[&str] = &["Enabled", "Disabled"];
const LOG_LEVELS: &[&str] = &["Trace", "Debug", "Info", "Warning", "Error", "Fatal"];
const CIDR: &Field = &text("").checked(&[Form(is_net, NET)]);

pub(super) const SPEC: &[Field] = &[
    text("nodeSelector").called("NodeSelector").checked(&[Check::Selector]),
    switch("useInternalDataplaneDriver"),
    text("dataplaneDriver"),
    interval("dataplaneWatchdogTimeout"),
    switch("ipv6Support"),
    interval("routeRefreshInterval"),
    interval("interfaceRefreshInterval"),
    interval("iptablesRefreshInterval"),
    interval("iptablesPostWriteCheckInterval"),
    interval("iptablesLockProbeInterval"),
    text("featureDetectOverride").checked(&[Form(is_switches, SWITCHES)]),
    text("featureGates").checked(&[Form(is_settings, SETTINGS)]),
    interval("ipsetsRefreshInterval"),
    count("maxIpsetSize"),
    text("iptablesBackend").checked(&[OneOf(&["Legacy", "NFT", "Auto"])]),
    interval("xdpRefreshInterval"),
    interval("netlinkTimeout"),
    text("metadataAddr"),
    count("metadataPort"),
    text("openstackRegion").called("OpenstackRegion").checked(&[Form(is_region, REGION)]),
    text("interfacePrefix"),
    text("interfaceExclude"),
    text("chainInsertMode").checked(&[AnyCase(&["Insert", "Append"])]),
    text("defaultEndpointToHostAction").checked(&[AnyCase(&["Drop", "Accept", "Return"])]),
    text("iptablesFilterAllowAction").checked(&[AnyCase(&["Accept", "Return"])]),
    text("iptablesMangleAllowAction").checked(&[AnyCase(&["Accept", "Return"])]),
    text("iptablesFilterDenyAction").checked(&[AnyCase(&["Drop", "Reject"])]),
    text("logPrefix").checked(&[Form(is_log_prefix, LOG_PREFIX)]),
    text("logActionRateLimit").checked(&[Form(is_rate, RATE)]),
    count("logActionRateLimitBurst").checked(&[Range(0, 9999)]),
    text("logFilePath"),
    text("logSeverityFile").checked(&[AnyCase(LOG_LEVELS)]),
    text("logSeverityScreen").checked(&[AnyCase(LOG_LEVELS)]),
    text("logSeveritySys").checked(&[AnyCase(LOG_LEVELS)]),
    text("logDebugFilenameRegex"),
    switch("ipipEnabled"),
    count("ipipMTU"),
    switch("vxlanEnabled"),
    count("vxlanMTU"),
    count("vxlanMTUV6"),
    count("vxlanPort"),
    count("vxlanVNI"),
    switch("allowVXLANPacketsFromWorkloads"),
    switch("allowIPIPPacketsFromWorkloads"),
    interval("reportingInterval"),
    interval("reportingTTL"),
    switch("endpointReportingEnabled"),
    interval("endpointReportingDelay"),
    text("endpointStatusPathPrefix"),
    natural("iptablesMarkMask", u32::MAX).kept(),
    switch("disableConntrackInvalidCheck"),
    switch("healthEnabled"),
    text("healthHost"),
    count("healthPort"),
    list("healthTimeoutOverrides", &object("", TIMEOUT)),
    switch("prometheusMetricsEnabled"),
    text("prometheusMetricsHost")
        .called("PrometheusMetricsHost")
        .checked(&[Form(is_listen_host, LISTEN_HOST)]),
    count("prometheusMetricsPort"),
    switch("prometheusGoMetricsEnabled"),
    switch("prometheusProcessMetricsEnabled"),
    switch("prometheusWireGuardMetricsEnabled"),
    text("prometheusMetricsCAFile"),
    text("prometheusMetricsCertFile"),
    text("prometheusMetricsKeyFile"),
    text("prometheusMetricsClientAuth"),
    list("failsafeInboundHostPorts", &object("", PROTO_PORT)).kept(),
    list("failsafeOutboundHostPorts", &object("", PROTO_PORT)).kept(),
    list("kubeNodePortRanges", &port("")).kept().called("KubeNodePortRanges"),
    text("policySyncPathPrefix"),
    switch("usageReportingEnabled"),
    interval("usageReportingInitialDelay"),
    interval("usageReportingInterval"),
    port("natPortRange").kept().called("NATPortRange").checked(&[Port]),
    text("natOutgoingAddress").called("NATOutgoingAddress").checked(&[Form(is_ipv4, IPV4)]),
    text("natOutgoingExclusions").checked(&[OneOf(&["IPPoolsOnly", "IPPoolsAndHostIPs"])]),
    text("deviceRouteSourceAddress")
        .called("DeviceRouteSourceAddress")
        .checked(&[Form(is_ipv4, IPV4)]),
    text("deviceRouteSourceAddressIPv6")
        .called("DeviceRouteSourceAddressIPv6")
        .checked(&[Form(is_ipv6, IPV6)]),
    count("deviceRouteProtocol"),
    switch("removeExternalRoutes"),
    text("programClusterRoutes").checked(CLUSTER_ROUTES),
    text("ipForwarding").checked(&[OneOf(ENABLED)]),
    list("externalNodesList", TEXT).kept().called("ExternalNodesCIDRList"),
    text("debugMemoryProfilePath"),
    switch("debugDisableLogDropping"),
    interval("debugSimulateCalcGraphHangAfter"),
    interval("debugSimulateDataplaneHangAfter"),
    interval("debugSimulateDataplaneApplyDelay"),
    text("debugHost"),
    count("debugPort").checked(&[Range(0, 65535)]),
    text("iptablesNATOutgoingInterfaceFilter")
        .called("IptablesNATOutgoingInterfaceFilter")
        .checked(&[Form(is_interface_filter, INTERFACE_FILTER)]),
    switch("sidecarAccelerationEnabled"),
    switch("xdpEnabled"),
    switch("genericXDPEnabled"),
    text("nftablesMode").checked(&[OneOf(&["Disabled", "Enabled", "Auto"])]).or_text("Auto"),
    text("nftablesFlowTableOffload").or_text("Disabled"),
    text("nftablesFlowTableDataIfacePattern"),
    interval("nftablesRefreshInterval"),
    text("nftablesFilterAllowAction").checked(&[AnyCase(&["Accept", "Return"])]),
    text("nftablesMangleAllowAction").checked(&[AnyCase(&["Accept", "Return"])]),
    text("nftablesFilterDenyAction").checked(&[AnyCase(&["Drop", "Reject"])]),
    natural("nftablesMarkMask", u32::MAX).kept(),
    switch("bpfEnabled"),
    text("bpfOverlayHostSourceIP"),
    switch("bpfDisableUnprivileged"),
    text("bpfJITHardening").checked(&[OneOf(&["Auto", "Strict"])]),
    text("bpfLogLevel").always().checked(&[AnyCase(&["Off", "Info", "Debug"])]),
    text("bpfConntrackLogLevel").checked(&[OneOf(&["Off", "Debug"])]),
    text("bpfConntrackMode").checked(&[OneOf(&["Auto", "Userspace", "BPFProgram"])]),
    object("bpfConntrackTimeouts", CONNTRACK_TIMEOUTS).kept(),
    interval("bpfIPFragTimeout"),
    map("bpfLogFilters").kept(),
    text("bpfCTLBLogFilter"),
    text("bpfDataIfacePattern"),
    text("bpfL3IfacePattern"),
    switch("bpfConnectTimeLoadBalancingEnabled"),
    text("bpfConnectTimeLoadBalancing")
        .checked(&[OneOf(&["TCP", "Enabled", "Disabled"])])
        .or_text("TCP"),
    text("bpfHostNetworkedNATWithoutCTLB").checked(&[OneOf(ENABLED)]).or_text("Enabled"),
    text("bpfExternalServiceMode").checked(&[AnyCase(&["Tunnel", "DSR"])]),
    list("bpfDSROptoutCIDRs", CIDR).kept(),
    count("bpfExtToServiceConnmark").checked(&[Range(0, 4294967295)]),
    switch("bpfKubeProxyIptablesCleanupEnabled"),
    interval("bpfKubeProxyMinSyncPeriod"),
    count("bpfKubeProxyHealthzPort").checked(&[Range(0, 65535)]),
    port("bpfPSNATPorts").kept().called("BPFPSNATPorts").checked(&[Port]),
    count("bpfMapSizeNATFrontend"),
    count("bpfMapSizeNATBackend"),
    count("bpfMapSizeNATAffinity"),
    count("bpfMapSizeRoute"),
    count("bpfMapSizeConntrack"),
    count("bpfMapSizePerCpuConntrack"),
    text("bpfMapSizeConntrackScaling").checked(&[AnyCase(&["Disabled", "DoubleIfFull"])]),
    count("bpfMapSizeConntrackCleanupQueue").checked(&[Range(1, i64::MAX)]),
    count("bpfMapSizeIPSets"),
    count("bpfMapSizeIfState"),
    switch("bpfHostConntrackBypass"),
    switch("bpfIPFragmentReassemblyEnabled"),
    text("bpfEnforceRPF").checked(&[AnyCase(&["Disabled", "Strict", "Loose"])]),
    switch("bpfPolicyDebugEnabled"),
    list(
        "bpfForceTrackPacketsFromIfaces",
        &text("").checked(&[Form(is_interface_filter, INTERFACE_FILTER)]),
    )
    .kept(),
    text("bpfDisableGROForIfaces"),
    list("bpfExcludeCIDRsFromNAT", CIDR).kept(),
    count("bpfExportBufferSizeMB"),
    text("istioAmbientMode").checked(&[OneOf(ENABLED)]),
    byte_or_name("istioDSCPMark").kept(),
    text("cgroupV2Path"),
    text("flowLogsPolicyEvaluationMode").checked(&[OneOf(&["None", "Continuous"])]),
    text("bpfRedirectToPeer").checked(&[OneOf(&["Enabled", "Disabled", "L2Only"])]),
    text("bpfAttachType").checked(&[OneOf(&["TC", "TCX", "Netkit"])]),
    interval("flowLogsFlushInterval"),
    switch("flowLogsCollectorDebugTrace"),
    text("flowLogsGoldmaneServer"),
    text("flowLogsLocalReporter").checked(&[OneOf(ENABLED)]),
    text("bpfProfiling").checked(&[OneOf(ENABLED)]),
    text("routeSource").checked(&[AnyCase(&["WorkloadIPs", "CalicoIPAM"])]),
    list("routeTableRanges", &object("", TABLES)).kept(),
    object("routeTableRange", TABLES).kept(),
    switch("routeSyncDisabled"),
    count("ipv4NormalRoutePriority").checked(&[Range(1, 2147483646)]),
    count("ipv4ElevatedRoutePriority").checked(&[Range(1, 2147483646)]),
    count("ipv6NormalRoutePriority").checked(&[Range(1, 2147483646)]),
    count("ipv6ElevatedRoutePriority").checked(&[Range(1, 2147483646)]),
    interval("liveMigrationRouteConvergenceTime"),
    switch("wireguardEnabled"),
    switch("wireguardEnabledV6"),
    switch("wireguardThreadingEnabled"),
    count("wireguardListeningPort").checked(&[Range(1, 65535)]),
    count("wireguardListeningPortV6").checked(&[Range(1, 65535)]),
    count("wireguardRoutingRulePriority").checked(&[Range(1, 32765)]),
    text("wireguardInterfaceName")
        .called("WireguardInterfaceName")
        .checked(&[Form(is_interface, INTERFACE)]),
    text("wireguardInterfaceNameV6")
        .called("WireguardInterfaceNameV6")
        .checked(&[Form(is_interface, INTERFACE)]),
    count("wireguardMTU"),
    count("wireguardMTUV6"),
    switch("wireguardHostEncryptionEnabled"),
    interval("wireguardKeepAlive"),
    text("awsSrcDstCheck").checked(&[OneOf(&["DoNothing", "Enable", "Disable"])]),
    text("serviceLoopPrevention").checked(&[AnyCase(&["Drop", "Reject", "Disabled"])]),
    text("workloadSourceSpoofing").checked(&[AnyCase(&["Disabled", "Any"])]),
    text("mtuIfacePattern"),
    text("floatingIPs").checked(&[OneOf(ENABLED)]).or_text("Disabled"),
    text("localSubnetL2Reachability"),
    interval("localSubnetL2ReachabilityRefreshInterval"),
    text("windowsManageFirewallRules").checked(&[OneOf(ENABLED)]),
    count("goGCThreshold"),
    count("goMemoryLimitMB"),
    count("goMaxProcs"),
    switch("requireMTUFile"),
    count("bpfMaglevMaxEndpointsPerService").checked(&[Range(1, 3000)]),
    count("bpfMaglevMaxServices").checked(&[Range(1, 3000)]),
];

const TIMEOUT: &[Field] = &[
    text("name")
        .always()
        .called("HealthTimeoutOverride.Name")
        .checked(&[Check::Required, Form(is_timeout_name, TIMEOUT_NAME)]),
    duration("timeout")
        .always()
        .called("HealthTimeoutOverride.Timeout")
        .checked(&[Form(is_plain_duration, PLAIN_DURATION)]),
];

const PROTO_PORT: &[Field] = &[
    text("protocol")
        .called("ProtoPort.Protocol")
        .checked(&[Check::Required, OneOf(&["TCP", "UDP", "SCTP"])]),
    natural("port", 65535).always(),
    text("net").checked(&[Form(is_net, NET)]),
];

const CONNTRACK_TIMEOUTS: &[Field] = &[
    timeout("creationGracePeriod"),
    timeout("tcpSynSent"),
    timeout("tcpEstablished"),
    timeout("tcpFinsSeen"),
    timeout("tcpResetSeen"),
    timeout("udpTimeout"),
    timeout("genericTimeout"),
    timeout("icmpTimeout"),
];

/// A duration as it was written, or `Auto`.
const fn timeout(name: &'static str) -> Field {
    text(name).kept().checked(&[Form(is_duration_or_auto, DURATION_OR_AUTO)])
}

const TABLES: &[Field] = &[int("min").always(), int("max").always()];

/// What a write fills in beyond the table: the deprecated switch of connect-time load balancing
/// decides what replaced it.
pub(super) fn default_on_write(object: &mut AnyResource) {
    let switch = object.spec.get("bpfConnectTimeLoadBalancingEnabled").and_then(Value::as_bool);
    let Some(on) = switch else { return };
    let mode = if on { "Enabled" } else { "Disabled" };
    for (field, value) in
        [("bpfConnectTimeLoadBalancing", mode), ("bpfHostNetworkedNATWithoutCTLB", "Disabled")]
    {
        if let Some(present) = object.spec.get_mut(field) {
            *present = Value::from(value);
        }
    }
}

/// Rules across fields.
pub(super) fn check(object: &AnyResource, _old: Option<&AnyResource>, errors: &mut FieldErrors) {
    let (name, spec) = (object.metadata.name.as_str(), View(&object.spec));
    let selector = spec.text("nodeSelector");
    if !selector.is_empty() && (name == "default" || name.starts_with("node.")) {
        let reason = "cannot be set on default or on a node's own configuration";
        errors.add("spec.nodeSelector", selector, reason);
    }
    let ranges = spec.list("kubeNodePortRanges");
    let named = |port: &Value| {
        port.as_str().is_some_and(|text| !text.bytes().all(|b| b.is_ascii_digit() || b == b':'))
    };
    if ranges.len() > 7 || ranges.iter().any(named) {
        let reason = "must have at most 7 ports or ranges of ports, without names";
        errors.add("KubeNodePortRanges", spec.shown("kubeNodePortRanges"), reason);
    }
    for cidr in spec.texts("externalNodesList").filter(|text| {
        let cidr = text.parse::<ipnet::IpNet>().map(|net| matches!(net, ipnet::IpNet::V4(_)));
        !cidr.unwrap_or_else(|_| is_ipv4(text))
    }) {
        errors.add("ExternalNodesCIDRList", cidr, "must be an IPv4 CIDR or address");
    }
    for interface in
        spec.object("bpfLogFilters").0.as_object().into_iter().flat_map(|map| map.keys())
    {
        let fits = interface != "*" && is_interface(interface);
        errors.check(fits, "BPFLogFilters", interface, "must be the name of an interface, or all");
    }
    check_tables(spec, errors);
}

/// The routing tables that Felix may use.
fn check_tables(spec: View, errors: &mut FieldErrors) {
    let ranges = spec.list("routeTableRanges");
    if spec.has("routeTableRange") {
        let range = spec.object("routeTableRange");
        let (min, max) = (range.whole("min"), range.whole("max"));
        let fits = 1 <= min && min <= max && max <= 250;
        let reason = "must be a range within 1 to 250";
        errors.check(fits, "RouteTableRange", spec.shown("routeTableRange"), reason);
        let reason = "cannot be set with routeTableRanges, which replaces it";
        let alone = !spec.has("routeTableRanges");
        errors.check(alone, "RouteTableRange", spec.shown("routeTableRange"), reason);
    }
    let mut tables: i128 = 0;
    for (at, range) in ranges.iter().map(View).enumerate() {
        let (min, max) = (range.whole("min"), range.whole("max"));
        tables += i128::from(max) - i128::from(min) + 1;
        if !(1 <= min && min <= max && max <= i64::from(u32::MAX)) {
            let reason = "min must be 1 or more, and max not below it nor above 4294967295";
            errors.add(format!("spec.routeTableRanges[{at}]"), format!("{min} to {max}"), reason);
        }
    }
    if tables > 0xffff {
        let reason = "must be at most 65535 tables together";
        errors.add("RouteTableRanges", tables, reason);
    }
}
