//! The configuration file, `calicoctl.cfg` (`reference/calicoctl.md` section 3.2).

/// Where it is, unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/calico/calicoctl.cfg";
