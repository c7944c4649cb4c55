//! Settings belong to the namespace of the thread that opens them.

use std::time::Duration;

use netutils::Ipv4Conf;
use netutils::sysctl::{self, Setting, SysctlError};

use crate::simulated::{Simulation, netns};

#[test]
fn a_setting_does_not_leak() {
    let name = "net/ipv4/ip_forward";
    let (one, other) = (netns(), netns());
    let ours = sysctl::read(name).unwrap();
    one.run(|| sysctl::write(name, "0")).unwrap().unwrap();
    other.run(|| sysctl::write(name, "1")).unwrap().unwrap();
    assert_eq!(one.run(|| sysctl::read(name)).unwrap().unwrap(), "0");
    assert_eq!(other.run(|| sysctl::read(name)).unwrap().unwrap(), "1");
    assert_eq!(sysctl::read(name).unwrap(), ours);
}

/// Threads of one process, at the same time in different namespaces, under one path.
#[test]
fn a_setting_follows_the_thread() {
    let name = sysctl::ipv4_conf("lo", "tag");
    let all_have_written = std::sync::Barrier::new(2);
    let write_and_read = |value: &str| {
        let netns = netns();
        // No panic between the two threads' meeting and its end, lest one wait for ever.
        netns.run(|| {
            let written = sysctl::write(&name, value);
            all_have_written.wait();
            written.and_then(|()| sysctl::read(&name))
        })
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| write_and_read("11"));
        let second = write_and_read("22");
        assert_eq!(first.join().unwrap().unwrap().unwrap(), "11");
        assert_eq!(second.unwrap().unwrap(), "22");
    });
}

#[tokio::test]
async fn interfaces_with_dots_have_settings() {
    let simulation = Simulation::new().await;
    simulation.wire("cali.1.2").await;
    let warnings = simulation.host.netns().run(|| {
        assert!(sysctl::ipv6_is_available());
        let warnings = sysctl::write_all(&[
            Setting::required(sysctl::ipv4_conf("cali.1.2", "route_localnet"), "1"),
            Setting::optional(sysctl::ipv4_neigh("cali.1.2", "proxy_delay"), "0"),
            Setting::optional(sysctl::ipv4_conf("cali.9", "forwarding"), "1"),
            Setting::required(sysctl::ipv6_conf("cali.1.2", "accept_dad"), "0"),
        ])?;
        assert_eq!(sysctl::read(&sysctl::ipv4_conf("cali.1.2", "route_localnet"))?, "1");
        assert_eq!(sysctl::read(&sysctl::ipv4_neigh("cali.1.2", "proxy_delay"))?, "0");
        assert_eq!(sysctl::read(&sysctl::ipv6_conf("cali.1.2", "accept_dad"))?, "0");
        Ok::<_, SysctlError>(warnings)
    });
    let warnings = warnings.unwrap().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].is_not_found());
    assert!(warnings[0].to_string().contains("net/ipv4/conf/cali.9/forwarding"), "{}", warnings[0]);
}

#[test]
fn a_required_setting_ends_the_work() {
    let tag = sysctl::ipv4_conf("lo", "tag");
    let netns = netns();
    let error = netns.run(|| {
        sysctl::write_all(&[
            Setting::required(tag.clone(), "not a number"),
            Setting::required(tag.clone(), "5"),
        ])
    });
    let error = error.unwrap().unwrap_err();
    assert!(!error.is_not_found());
    assert!(error.to_string().contains("\"not a number\""), "{error}");
    assert_eq!(netns.run(|| sysctl::read(&tag)).unwrap().unwrap(), "0");
}

#[tokio::test]
async fn ipv4_settings_of_an_interface_go_in_one_request() {
    let simulation = Simulation::new().await;
    simulation.wire("cali1").await;
    let index = simulation.host.link("cali1").await.unwrap().unwrap().index;
    let names = ["route_localnet", "proxy_arp", "forwarding", "rp_filter"];
    let read = || {
        let read = |name: &str| sysctl::read(&sysctl::ipv4_conf("cali1", name)).unwrap();
        simulation.host.netns().run(|| names.map(read)).unwrap()
    };
    let all = |value: u32| names.map(|name| (Ipv4Conf::named(name).unwrap(), value));
    for value in [0, 1] {
        simulation.host.switch_on(index, &all(value)).await.unwrap();
        assert_eq!(read(), names.map(|_| value.to_string()));
    }
    simulation.host.switch_on(index, &[(Ipv4Conf::RpFilter, 2)]).await.unwrap();
    assert_eq!(read(), ["1", "1", "1", "2"]);
    simulation.host.set_ipv4_proxy_delay(index, Duration::from_millis(30)).await.unwrap();
    let delay = sysctl::ipv4_neigh("cali1", "proxy_delay");
    assert_eq!(simulation.host.netns().run(|| sysctl::read(&delay).unwrap()).unwrap(), "3");
    assert!(simulation.host.link("cali1").await.unwrap().unwrap().up);
    let error = simulation.host.switch_on(999, &all(1)).await.unwrap_err();
    assert!(error.is_no_device(), "{error}");
    assert_eq!(Ipv4Conf::named("tag"), None);
}
