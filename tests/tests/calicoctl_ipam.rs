//! `calicoctl ipam` as an operator runs it, on both stores (`reference/calicoctl.md` section 6).

#[path = "calicoctl_ipam/golden.rs"]
mod golden;
