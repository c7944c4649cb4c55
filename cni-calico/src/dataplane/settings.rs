//! The kernel's settings of both ends (`reference/cni-plugin.md` sections 4.3 and 4.4).

use std::time::Duration;

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

/// The settings of the host's end, parted by how they are made.
pub struct Parted {
    /// Those that one request makes together.
    pub conf: Vec<(Ipv4Conf, u32)>,
    /// `proxy_delay`, which has a request of its own.
    pub proxy_delay: Option<Duration>,
    /// Those that are written to files.
    pub files: Vec<Setting>,
}

/// Parts the settings of this interface.
pub fn part(settings: Vec<Setting>, interface: &str) -> Parted {
    let conf = sysctl::ipv4_conf(interface, "");
    let proxy_delay = sysctl::ipv4_neigh(interface, "proxy_delay");
    let mut parted = Parted { conf: Vec::with_capacity(4), proxy_delay: None, files: Vec::new() };
    for setting in settings {
        let value = setting.value.parse::<u32>().ok();
        let named = setting.name.strip_prefix(&conf).and_then(Ipv4Conf::named);
        match (named, value) {
            (Some(named), Some(value)) => parted.conf.push((named, value)),
            (None, Some(hundredths)) if setting.name == proxy_delay => {
                parted.proxy_delay = Some(Duration::from_millis(u64::from(hundredths) * 10));
            }
            _ => parted.files.push(setting),
        }
    }
    parted
}

/// What CHECK compares of the host's end: the required settings, but for those that an operator may
/// have changed for a reason of his own. `route_localnet` is switched off to harden a host, and lets
/// packets pass all the same. `rp_filter` is ours, so that a link of upstream's making need not have
/// it, and Felix takes it off an endpoint that may send from addresses which aren't its own.
pub fn checked_of_host(name: &str, v4: bool, v6: bool, rp_filter: bool) -> Vec<Setting> {
    let mut settings = of_host(name, v4, v6);
    settings.retain(|setting| match setting.key() {
        "route_localnet" => false,
        "rp_filter" => rp_filter,
        _ => setting.required,
    });
    settings
}

/// What CHECK compares of the container. Whether it forwards is its own affair, once it may: a
/// container with the right to do so, or a plugin that runs after us (`tuning`), may switch that on.
/// `default` is for interfaces that come later, which are its own affair too.
pub fn checked_of_container(ifname: &str, v4: bool, v6: bool, forwarding: bool) -> Vec<Setting> {
    let mut settings = of_container(ifname, v4, v6, forwarding);
    settings.retain(|setting| match setting.key() {
        "forwarding" | "ip_forward" => forwarding,
        _ => !setting.name.contains("/default/"),
    });
    settings
}

/// A setting that is not as it was made, and what it is.
pub struct Changed {
    /// As it was made.
    pub setting: Setting,
    /// The value that is there now, or why it can't be read.
    pub found: String,
}

/// Those that are not as they were made, in the namespace of the calling thread. What the kernel
/// doesn't have can't differ.
pub fn changed(settings: Vec<Setting>) -> Vec<Changed> {
    let changed = |setting: Setting| match sysctl::read(&setting.name) {
        Ok(found) if found == setting.value => None,
        Ok(found) => Some(Changed { setting, found }),
        Err(error) if error.is_not_found() => None,
        Err(error) => Some(Changed { setting, found: error.to_string() }),
    };
    settings.into_iter().filter_map(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_change_and_what_the_kernel_lacks_is_not_compared() {
        let keys = |settings: Vec<Setting>| -> Vec<String> {
            settings.iter().map(|setting| setting.key().to_owned()).collect()
        };
        assert_eq!(keys(checked_of_host("c", true, false, false)), ["proxy_arp", "forwarding"]);
        assert_eq!(
            keys(checked_of_host("c", true, true, true)),
            [
                "proxy_arp",
                "forwarding",
                "rp_filter",
                "accept_dad",
                "disable_ipv6",
                "proxy_ndp",
                "forwarding"
            ]
        );
        assert_eq!(
            keys(checked_of_container("eth0", true, true, false)),
            ["accept_dad", "disable_ipv6", "disable_ipv6"]
        );
        let forwards = keys(checked_of_container("eth0", true, true, true));
        assert!(forwards.contains(&"ip_forward".into()) && forwards.contains(&"forwarding".into()));
        assert!(keys(checked_of_container("eth0", true, false, false)).is_empty());
        // There is no such interface, so there is no such setting.
        assert!(changed(checked_of_host("no-such-link", true, true, true)).is_empty());
        let lo = Setting::required(sysctl::ipv4_conf("lo", "forwarding"), "7");
        assert_eq!(changed(vec![lo]).len(), 1);
    }

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
        let parted = part(of_host("cali1", true, true), "cali1");
        assert_eq!(
            parted.conf,
            [
                (Ipv4Conf::RouteLocalnet, 1),
                (Ipv4Conf::ProxyArp, 1),
                (Ipv4Conf::Forwarding, 1),
                (Ipv4Conf::RpFilter, 1),
            ]
        );
        assert_eq!(parted.proxy_delay, Some(Duration::ZERO));
        let files = |name: &str| name.starts_with("net/ipv6/conf/cali1/");
        assert!(parted.files.iter().all(|setting| files(&setting.name)));
        assert_eq!(parted.files.len(), 6);
    }
}
