//! `calicoctl ipam configure` (`reference/calicoctl.md` 6.4).

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use libcalico::ipam::config::IpamConfig;
use libcalico::ipam::{Allocator, IpamError};
use serde_json::json;

use super::{Format, print_json};
use crate::commands::Outcome;
use crate::context::Context;

/// How often a change that another one crossed is tried again.
const ATTEMPTS: usize = 5;

/// Flags of `ipam configure`.
#[derive(Debug, Args)]
pub struct Configure {
    /// Whether nodes take addresses only out of their own blocks: true or false.
    #[arg(long, value_name = "BOOL")]
    strictaffinity: Option<String>,
    /// The most blocks of a node in each family; 0 for no limit. Needs strict affinity.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    max_blocks_per_host: Option<String>,
    /// Whether virtual machines keep their addresses: Enabled or Disabled.
    #[arg(long, value_name = "STATE")]
    kubevirt_ip_persistence: Option<String>,
    /// For how many seconds a released address is not given out again.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    ip_cooldown_seconds: Option<String>,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What is to be set, in the order in which it is told.
struct Settings {
    strict_affinity: Option<bool>,
    max_blocks_per_host: Option<i64>,
    persistence: Option<&'static str>,
    cooldown_seconds: Option<i64>,
}

impl Configure {
    /// Sets what the flags say, all of it or nothing.
    pub fn run(self, context: &Context) -> Outcome {
        let settings = self.settings()?;
        let client = context.client_of_first_write()?;
        let config = context.block_on(async {
            let allocator = Allocator::new(&**client.store());
            let mut attempts = 0;
            loop {
                attempts += 1;
                let (mut config, revision) = allocator.config(context.deadline()).await?;
                settings.apply(&mut config);
                match allocator.set_config(&config, revision, context.deadline()).await {
                    Err(IpamError::ConfigChanged) if attempts < ATTEMPTS => {}
                    set => {
                        break set.map(|()| config).context("failed to set the IPAM configuration");
                    }
                }
            }
        })?;
        match self.output {
            Format::Json => print_json(&describe(&config))?,
            Format::Text => {
                let mut out = std::io::stdout().lock();
                for (name, value) in settings.told() {
                    writeln!(out, "Successfully set {name} to: {value}")?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let strict_affinity = match self.strictaffinity.as_deref() {
            None => None,
            Some(text) => Some(
                parse_bool(text)
                    .context("invalid value. Use true or false to set strictaffinity")?,
            ),
        };
        let number = |text: &Option<String>| text.as_deref().map(str::parse::<i64>).transpose();
        let max_blocks_per_host = number(&self.max_blocks_per_host)
            .ok()
            .context("invalid value for maxblockhost. Use a valid number")?;
        let persistence = match self.kubevirt_ip_persistence.as_deref() {
            None => None,
            Some("Enabled") => Some("Enabled"),
            Some("Disabled") => Some("Disabled"),
            Some(other) => {
                bail!(
                    "invalid value {other:?} for kubevirt-ip-persistence. Use Enabled or Disabled"
                )
            }
        };
        let cooldown_seconds = number(&self.ip_cooldown_seconds)
            .ok()
            .filter(|seconds| seconds.is_none_or(|seconds| seconds >= 0))
            .context("invalid value for ip-cooldown-seconds. Use a number of seconds from 0 on")?;
        let settings =
            Settings { strict_affinity, max_blocks_per_host, persistence, cooldown_seconds };
        if settings.told().is_empty() {
            bail!("at least one configuration option must be specified");
        }
        Ok(settings)
    }
}

impl Settings {
    fn apply(&self, config: &mut IpamConfig) {
        if let Some(strict) = self.strict_affinity {
            config.strict_affinity = strict;
        }
        if let Some(blocks) = self.max_blocks_per_host {
            config.max_blocks_per_host = blocks;
        }
        if let Some(seconds) = self.cooldown_seconds {
            config.ip_cooldown_seconds = seconds;
        }
        let state = &mut config.kube_virt_vm_address_persistence;
        match self.persistence {
            Some(persistence) => *state = Some(persistence.to_owned()),
            // COMPAT: every write also stores the default.
            None => {
                state.get_or_insert_with(|| "Enabled".to_owned());
            }
        }
    }

    fn told(&self) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        let mut tell = |name, value: Option<String>| told.extend(value.map(|value| (name, value)));
        tell("StrictAffinity", self.strict_affinity.map(|value| value.to_string()));
        tell("MaxBlocksPerHost", self.max_blocks_per_host.map(|value| value.to_string()));
        tell("KubeVirtVMAddressPersistence", self.persistence.map(str::to_owned));
        tell("IPCooldownSeconds", self.cooldown_seconds.map(|value| value.to_string()));
        told
    }
}

/// The configuration for programs.
pub fn describe(config: &IpamConfig) -> serde_json::Value {
    json!({
        "strictAffinity": config.strict_affinity,
        "autoAllocateBlocks": config.auto_allocate_blocks,
        "maxBlocksPerHost": config.max_blocks_per_host,
        "kubeVirtVMAddressPersistence": persistence(config),
        "ipCooldownSeconds": config.ip_cooldown_seconds,
    })
}

/// Whether virtual machines keep their addresses, which they do unless it is said otherwise.
pub fn persistence(config: &IpamConfig) -> &str {
    config.kube_virt_vm_address_persistence.as_deref().unwrap_or("Enabled")
}

/// The words for true and false that Go reads.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
