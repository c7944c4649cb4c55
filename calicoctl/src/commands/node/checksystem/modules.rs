//! The kernel modules that Calico and our plugins use, and where a module may be found.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::read::GzDecoder;

/// A module, or several of which one will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Its names: the current one last.
    pub names: &'static [&'static str],
    /// The options of the kernel's configuration that stand for it.
    pub options: &'static [&'static str],
    /// Whether one can do without.
    pub optional: bool,
}

const fn module(names: &'static [&'static str], options: &'static [&'static str]) -> Module {
    Module { names, options, optional: false }
}

const fn optional(names: &'static [&'static str], options: &'static [&'static str]) -> Module {
    Module { names, options, optional: true }
}

/// What Calico's policy and routing use, in upstream's order.
pub const OF_CALICO: [Module; 15] = [
    module(&["ip_set"], &["IP_SET"]),
    optional(&["ip6_tables"], &["IP6_NF_IPTABLES"]),
    module(&["ip_tables"], &["IP_NF_IPTABLES"]),
    module(&["ipt_ipvs", "xt_ipvs"], &["NETFILTER_XT_MATCH_IPVS"]),
    module(&["vfio-pci"], &["VFIO_PCI"]),
    optional(&["xt_bpf"], &["NETFILTER_XT_MATCH_BPF"]),
    module(&["xt_REJECT", "ipt_REJECT"], &["IP_NF_TARGET_REJECT"]),
    module(&["xt_rpfilter"], &["IP_NF_MATCH_RPFILTER"]),
    module(&["nf_conntrack_netlink"], &["NF_CT_NETLINK"]),
    module(&["xt_addrtype"], &["NETFILTER_XT_MATCH_ADDRTYPE"]),
    module(&["xt_conntrack"], &["NETFILTER_XT_MATCH_CONNTRACK"]),
    module(&["xt_mark"], &["NETFILTER_XT_MARK", "NETFILTER_XT_MATCH_MARK"]),
    module(&["xt_multiport"], &["NETFILTER_XT_MATCH_MULTIPORT"]),
    module(&["xt_set"], &["NETFILTER_XT_SET"]),
    optional(&["xt_u32"], &["NETFILTER_XT_MATCH_U32"]),
];

/// What our plugins use: the pairs that join a pod to its host.
pub const OF_PLUGINS: [Module; 2] =
    [module(&["veth"], &["VETH"]), optional(&["netkit"], &["NETKIT"])];

/// What this kernel has, as far as it tells.
#[derive(Debug, Default)]
pub struct Kernel {
    /// The names of its modules, with `_` for every `-`.
    modules: BTreeSet<String>,
    /// The options of its configuration that are `y` or `m`, without `CONFIG_`.
    options: BTreeSet<String>,
}

impl Kernel {
    /// Looks for all that tells of this kernel's modules. `config` is the file with its
    /// configuration, where that is not in one of the usual places.
    pub fn of_this_host(release: &str, config: Option<&Path>) -> anyhow::Result<Kernel> {
        let mut kernel = Kernel::default();
        let entries = fs::read_dir("/sys/module").into_iter().flatten().flatten();
        kernel.add_names(entries.filter_map(|entry| entry.file_name().into_string().ok()));
        kernel.add_names(lines("/proc/modules").filter_map(|line| first_word(&line)));
        for list in ["modules.dep", "modules.builtin"] {
            let path = format!("/lib/modules/{release}/{list}");
            kernel.add_names(lines(&path).filter_map(|line| name_of_file(&line)));
        }
        let text = match config {
            Some(path) => read_config(path)
                .with_context(|| format!("failed to read the kernel's configuration {path:?}"))?,
            None => [PathBuf::from(format!("/boot/config-{release}")), "/proc/config.gz".into()]
                .iter()
                .find_map(|path| read_config(path).ok())
                .unwrap_or_default(),
        };
        kernel.options.extend(text.lines().filter_map(enabled_option));
        Ok(kernel)
    }

    /// The name under which the module is there.
    pub fn find(&self, module: &Module) -> Option<&'static str> {
        let found = module.names.iter().find(|name| self.modules.contains(&plain(name)));
        let configured = || {
            let known = module.options.iter().any(|option| self.options.contains(*option));
            module.names.last().filter(|_| known)
        };
        found.or_else(configured).copied()
    }

    fn add_names(&mut self, names: impl Iterator<Item = String>) {
        self.modules.extend(names.map(|name| plain(&name)));
    }
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn lines(path: &str) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn first_word(line: &str) -> Option<String> {
    line.split_whitespace().next().map(str::to_owned)
}

/// The module of a line like `kernel/net/netfilter/xt_set.ko.xz: kernel/…`.
fn name_of_file(line: &str) -> Option<String> {
    let path = line.split(':').next()?;
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    Some(name.to_owned())
}

/// The option of a line like `CONFIG_VETH=m`.
fn enabled_option(line: &str) -> Option<String> {
    let (option, value) = line.trim().strip_prefix("CONFIG_")?.split_once('=')?;
    matches!(value, "y" | "m").then(|| option.to_owned())
}

/// The text of a configuration, which may be packed as `/proc/config.gz` is.
fn read_config(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let mut text = String::new();
    GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_each_of_its_traces() {
        let (vfio, ipvs, mark) = (&OF_CALICO[4], &OF_CALICO[3], &OF_CALICO[11]);
        let mut kernel = Kernel::default();
        assert_eq!(kernel.find(vfio), None);
        kernel.add_names(["vfio_pci".to_owned()].into_iter());
        assert_eq!(kernel.find(vfio), Some("vfio-pci"));
        kernel
            .options
            .extend(["CONFIG_NETFILTER_XT_MATCH_IPVS=m"].into_iter().filter_map(enabled_option));
        assert_eq!(kernel.find(ipvs), Some("xt_ipvs"));
        kernel
            .options
            .extend(["CONFIG_NETFILTER_XT_MARK=n"].into_iter().filter_map(enabled_option));
        assert_eq!(kernel.find(mark), None);
        kernel.options.insert("NETFILTER_XT_MATCH_MARK".into());
        assert_eq!(kernel.find(mark), Some("xt_mark"));
    }

    #[test]
    fn lists_of_files_are_read() {
        let line = "kernel/net/netfilter/xt_set.ko.xz: kernel/net/netfilter/ipset/ip_set.ko.xz";
        assert_eq!(name_of_file(line).as_deref(), Some("xt_set"));
        assert_eq!(name_of_file("kernel/drivers/net/veth.ko").as_deref(), Some("veth"));
        assert_eq!(name_of_file("alias a b"), None);
        for line in ["# CONFIG_VETH is not set", "CONFIG_VETH=n", "CONFIG_VETH", "VETH=y"] {
            assert_eq!(enabled_option(line), None, "{line}");
        }
    }

    #[test]
    fn a_packed_configuration_is_unpacked() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.gz");
        let file = fs::File::create(&path).unwrap();
        let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packer.write_all(b"CONFIG_VETH=y\n").unwrap();
        packer.finish().unwrap();
        let kernel = Kernel::of_this_host("no-such-release", Some(&path)).unwrap();
        assert!(kernel.find(&OF_PLUGINS[0]).is_some());
        let missing = Kernel::of_this_host("x", Some(&folder.path().join("none"))).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
