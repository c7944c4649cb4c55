//! The kernel's settings of both ends (`reference/cni-plugin.md` sections 4.3 and 4.4).

use netutils::Ipv4Conf;
use netutils::sysctl::{self, Setting};

/// The settings of the host's end, in their order.
pub fn of_host(name: &str, v4: bool, v6: bool) -> Vec<Setting> {
    let mut settings = Vec::with_capacity(11);
    if v4 {
        settings.extend([
            Setting::required(sysctl::ipv4_conf(name, "route_localnet"), "1"),
            Setting::optional(sysctl::ipv4_neigh(name, "proxy_delay"), "0"),
            Setting::required(sysctl::ipv4_conf(name, "proxy_arp"), "1"),
            Setting::required(sysctl::ipv4_conf(name, "forwarding"), "1"),
            // A container sends from its own addresses only. Upstream leaves that to Felix.
            Setting::required(sysctl::ipv4_conf(name, "rp_filter"), "1"),
        ]);
    }
    if v6 {
        settings.extend([
            Setting::required(sysctl::ipv6_conf(name, "accept_dad"), "0"),
            Setting::required(sysctl::ipv6_conf(name, "disable_ipv6"), "0"),
            Setting::required(sysctl::ipv6_conf(name, "proxy_ndp"), "1"),
            Setting::required(sysctl::ipv6_conf(name, "forwarding"), "1"),
            // From Linux 6.17: this link's packets are forwarded even where the host as a whole
            // does not. Older kernels need net.ipv6.conf.all.forwarding.
            Setting::optional(sysctl::ipv6_conf(name, "force_forwarding"), "1"),
        ]);
    }
    settings.push(Setting::optional(sysctl::ipv6_conf(name, "accept_ra"), "0"));
    settings
}

/// The settings of the container, in their order; the first before its interface is up.
pub fn of_container(ifname: &str, v4: bool, v6: bool, forwarding: bool) -> Vec<Setting> {
    let forwarding = if forwarding { "1" } else { "0" };
    let mut settings = Vec::with_capacity(6);
    if v6 {
        settings.push(Setting::required(sysctl::ipv6_conf(ifname, "accept_dad"), "0"));
        settings.extend(
            ["all", "default", "lo"]
                .map(|scope| Setting::required(sysctl::ipv6_conf(scope, "disable_ipv6"), "0")),
        );
        settings.push(Setting::required(sysctl::ipv6_conf("all", "forwarding"), forwarding));
    }
    if v4 {
        settings.push(Setting::required("net/ipv4/ip_forward", forwarding));
    }
    settings
}

/// Parts the settings: those that one request can make together, and those that are written to
/// files. `folder` is that of the interface's IPv4 settings.
pub fn by_request(settings: Vec<Setting>, folder: &str) -> (Vec<(Ipv4Conf, u32)>, Vec<Setting>) {
    let mut together = Vec::with_capacity(4);
    let mut single = Vec::with_capacity(settings.len());
    for setting in settings {
        let conf = setting.name.strip_prefix(folder).and_then(Ipv4Conf::named);
        match conf.zip(setting.value.parse().ok()) {
            Some(one) => together.push(one),
            None => single.push(setting),
        }
    }
    (together, single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_touch_only_the_families_in_use() {
        let names = |settings: Vec<Setting>| -> Vec<String> {
            settings.into_iter().map(|setting| setting.name).collect()
        };
        assert_eq!(names(of_container("eth0", true, false, false)), ["net/ipv4/ip_forward"]);
        let v6 = names(of_host("cali1", false, true));
        assert!(v6.iter().all(|name| name.starts_with("net/ipv6/")), "{v6:?}");
        let v4 = of_host("cali1", true, false);
        assert!(v4.contains(&Setting::required("net/ipv4/conf/cali1/rp_filter", "1")));
        let accept_dad = names(of_container("eth0", true, true, true)).remove(0);
        assert_eq!(accept_dad, "net/ipv6/conf/eth0/accept_dad");
    }

    #[test]
    fn ipv4_settings_of_the_hosts_end_go_together() {
        let (together, single) = by_request(of_host("cali1", true, true), "net/ipv4/conf/cali1/");
        assert_eq!(
            together,
            [
                (Ipv4Conf::RouteLocalnet, 1),
                (Ipv4Conf::ProxyArp, 1),
                (Ipv4Conf::Forwarding, 1),
                (Ipv4Conf::RpFilter, 1),
            ]
        );
        assert_eq!(single.len(), 7);
    }
}
