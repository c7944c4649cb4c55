//! `calicoctl node checksystem` (`reference/calicoctl.md` section 8.3). The hosts hide the machine's
//! modules, and `modprobe` is a script of the test: nothing is loaded, and the settings are those of
//! the simulated host.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use tests::{Answer, Ctl, Host, Stores, scene};

const TOOLS: &str = "/opt/tools";
const LOG: &str = "/run/modprobe.log";
const OPTIONS: [&str; 18] = [
    "IP_SET",
    "IP6_NF_IPTABLES",
    "IP_NF_IPTABLES",
    "NETFILTER_XT_MATCH_IPVS",
    "VFIO_PCI",
    "NETFILTER_XT_MATCH_BPF",
    "IP_NF_TARGET_REJECT",
    "IP_NF_MATCH_RPFILTER",
    "NF_CT_NETLINK",
    "NETFILTER_XT_MATCH_ADDRTYPE",
    "NETFILTER_XT_MATCH_CONNTRACK",
    "NETFILTER_XT_MARK",
    "NETFILTER_XT_MATCH_MULTIPORT",
    "NETFILTER_XT_SET",
    "NETFILTER_XT_MATCH_U32",
    "VETH",
    "NETKIT",
    "UNRELATED",
];

/// A host whose kernel tells of no module, and whose `modprobe` knows `loadable` alone.
fn host(scene: &tests::Scene, loadable: &str) -> Result<Arc<Host>> {
    let host = scene.host("node-a")?;
    host.run("mount -t tmpfs none /sys/module".split(' '))?;
    for file in ["/proc/modules", "/proc/config.gz"] {
        if Path::new(file).exists() {
            host.run(["mount", "--bind", "/dev/null", file])?;
        }
    }
    for folder in ["/lib/modules", "/boot"] {
        if Path::new(folder).exists() {
            host.run(["mount", "-t", "tmpfs", "none", folder])?;
        }
    }
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{LOG}\n[ \"$*\" = {loadable} ] && exit 0\n\
         echo \"modprobe: FATAL: Module $1 not found.\" >&2\nexit 1\n"
    );
    host.write(&format!("{TOOLS}/modprobe"), script)?;
    fs::set_permissions(host.path(&format!("{TOOLS}/modprobe")), Permissions::from_mode(0o755))?;
    Ok(host)
}

fn check(host: &Arc<Host>, line: &str) -> Result<Answer> {
    let store = Stores::Local(host.clone());
    let words = ["node", "checksystem"].into_iter().chain(line.split_whitespace());
    // No other folder: the machine's own modprobe can't be found.
    Ctl::new(&store, words).env("PATH", TOOLS).run()
}

fn config(options: &[&str]) -> String {
    options.iter().map(|option| format!("CONFIG_{option}=m\n")).collect()
}

fn row(name: &str, state: &str) -> String {
    format!("\t\t{name:<20}\t\t\t\t\t{state}\n")
}

#[test]
fn a_kernel_with_everything_passes() {
    scene("checksystem-good", |scene| {
        let host = host(scene, "none")?;
        host.set_sysctl("ipv4/ip_forward", "1")?;
        host.write("/etc/calico/kernel", config(&OPTIONS))?;
        let answer = check(&host, "-f /etc/calico/kernel")?;
        ensure!(answer.exit == Some(0) && answer.stderr.is_empty(), "{answer:?}");
        ensure!(answer.stdout.starts_with("Checking kernel version...\n\t\t"), "{answer:?}");
        let modules = "Checking kernel modules...\n".to_owned()
            + &row("ip_set", "OK")
            + &row("ip6_tables", "OK")
            + &row("ip_tables", "OK")
            + &row("xt_ipvs", "OK")
            + &row("vfio-pci", "OK")
            + &row("xt_bpf", "OK")
            + &row("ipt_REJECT", "OK")
            + &row("xt_rpfilter", "OK");
        ensure!(answer.stdout.contains(&modules), "{}", answer.stdout);
        ensure!(answer.stdout.contains(&row("net.ipv4.ip_forward", "OK")), "{}", answer.stdout);
        let end = "System meets minimum system requirements to run Calico!\n";
        ensure!(answer.stdout.ends_with(end), "{}", answer.stdout);
        // Other words for the flag, and without --fix nobody loads anything.
        ensure!(check(&host, "--kernel-config=/etc/calico/kernel")?.exit == Some(0));
        ensure!(!host.path(LOG).exists());
        Ok(())
    });
}

#[test]
fn what_is_missing_is_named_and_only_fix_touches_it() {
    scene("checksystem-bad", |scene| {
        let host = host(scene, "xt_set")?;
        host.set_sysctl("ipv4/ip_forward", "0")?;
        let some: Vec<&str> =
            OPTIONS.into_iter().filter(|o| !o.ends_with("_SET") && !o.ends_with("U32")).collect();
        host.write("/etc/calico/kernel", config(&some))?;
        let answer = check(&host, "-f /etc/calico/kernel")?;
        ensure!(answer.exit == Some(1), "{answer:?}");
        let verdict =
            "system doesn't meet one or more minimum systems requirements to run Calico\n";
        ensure!(answer.stderr == verdict, "{answer:?}");
        for (name, state) in [
            ("ip_set", "FAIL"),
            ("xt_set", "FAIL"),
            ("xt_u32", "SKIP"),
            ("xt_mark", "OK"),
            ("net.ipv4.ip_forward", "FAIL"),
        ] {
            ensure!(answer.stdout.contains(&row(name, state)), "{name}: {}", answer.stdout);
        }
        ensure!(!host.path(LOG).exists(), "modprobe was called without --fix");
        ensure!(host.sysctl("ipv4/ip_forward")? == "0", "a setting was changed without --fix");

        let answer = check(&host, "-f /etc/calico/kernel --fix")?;
        ensure!(answer.exit == Some(1) && answer.stderr == verdict, "{answer:?}");
        let told = "Loading module ip_set: modprobe: FATAL: Module ip_set not found.\n".to_owned()
            + &row("ip_set", "FAIL");
        ensure!(answer.stdout.contains(&told), "{}", answer.stdout);
        let told = "Loading module xt_set: done\n".to_owned() + &row("xt_set", "OK");
        ensure!(answer.stdout.contains(&told), "{}", answer.stdout);
        let told = "Setting net.ipv4.ip_forward to 1: done\n".to_owned()
            + &row("net.ipv4.ip_forward", "OK");
        ensure!(answer.stdout.contains(&told), "{}", answer.stdout);
        ensure!(answer.stdout.contains("/etc/sysctl.d/calico.conf"), "{}", answer.stdout);
        ensure!(host.sysctl("ipv4/ip_forward")? == "1");
        ensure!(fs::read_to_string(host.path(LOG))? == "ip_set\nxt_set\nxt_u32\n");
        Ok(())
    });
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    scene("checksystem-file", |scene| {
        let host = host(scene, "none")?;
        let answer = check(&host, "-f /etc/calico/none")?;
        ensure!(answer.exit == Some(1) && answer.stdout.is_empty(), "{answer:?}");
        ensure!(answer.stderr.contains("/etc/calico/none"), "{answer:?}");
        Ok(())
    });
}
