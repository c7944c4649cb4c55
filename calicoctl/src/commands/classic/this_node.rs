//! Which node this is.

use cni_ipam::conf::NetConf;

/// This node's name: `NODENAME`, the content of the nodename file, `HOSTNAME`, or the host's own
/// name.
pub fn name() -> anyhow::Result<String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let conf = NetConf {
        nodename: variable("NODENAME"),
        nodename_file: variable("CALICO_NODENAME_FILE"),
        hostname: variable("HOSTNAME").to_lowercase(),
        nodename_file_optional: true,
        ..NetConf::default()
    };
    Ok(cni_ipam::node::name(&conf)?)
}
