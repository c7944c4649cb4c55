//! Settings belong to the namespace of the thread that opens them.

use netutils::sysctl::{self, Setting};

use crate::simulated::{Simulation, netns};

#[test]
fn a_setting_does_not_leak() {
    let name = "net/ipv4/ip_forward";
    let ours = sysctl::read(name).unwrap();
    let (one, other) = (netns(), netns());
    one.run(|| sysctl::write(name, "0")).unwrap().unwrap();
    other.run(|| sysctl::write(name, "1")).unwrap().unwrap();
    assert_eq!(one.run(|| sysctl::read(name)).unwrap().unwrap(), "0");
    assert_eq!(other.run(|| sysctl::read(name)).unwrap().unwrap(), "1");
    assert_eq!(sysctl::read(name).unwrap(), ours);
}

/// Threads of one process, at the same time in different namespaces, under one path.
#[test]
fn a_setting_follows_the_thread() {
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for value in ["11", "22"] {
            let barrier = &barrier;
            scope.spawn(move || {
                let name = sysctl::ipv4_conf("lo", "tag");
                netns()
                    .run(|| {
                        sysctl::write(&name, value).unwrap();
                        barrier.wait();
                        assert_eq!(sysctl::read(&name).unwrap(), value);
                        barrier.wait();
                    })
                    .unwrap();
            });
        }
    });
}

#[tokio::test]
async fn interfaces_with_dots_have_settings() {
    let simulation = Simulation::new().await;
    simulation.wire("cali.1.2").await;
    let outcome = simulation.host.netns().run(|| {
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
        Ok::<_, sysctl::SysctlError>(warnings)
    });
    let warnings = outcome.unwrap().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].is_not_found());
    assert!(warnings[0].to_string().contains("net/ipv4/conf/cali.9/forwarding"), "{}", warnings[0]);
}

#[test]
fn a_required_setting_ends_the_work() {
    let outcome = netns().run(|| {
        let error = sysctl::write_all(&[
            Setting::required(sysctl::ipv4_conf("lo", "tag"), "not a number"),
            Setting::required(sysctl::ipv4_conf("lo", "tag"), "5"),
        ]);
        (error.unwrap_err(), sysctl::read(&sysctl::ipv4_conf("lo", "tag")).unwrap())
    });
    let (error, tag) = outcome.unwrap();
    assert!(!error.is_not_found());
    assert!(error.to_string().contains("\"not a number\""), "{error}");
    assert_eq!(tag, "0");
}
