//! A client of the CRI runtime service (`runtime.v1`): the calls and members that the tests need.
//!
//! Debian 12 has no `crictl`. The numbers are those of Kubernetes' `api.proto`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::command::LIMIT;
use crate::containerd::{Containerd, SOCKET};

/// A connection to containerd's CRI service.
#[derive(Debug)]
pub struct Cri {
    runtime: Runtime,
    channel: Channel,
    control_group: String,
}

/// What the runtime knows of a sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Whether it is ready, as opposed to stopped.
    pub ready: bool,
    /// Its first address.
    pub ip: String,
    /// Its further addresses.
    pub additional_ips: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct RunRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<Config>,
}

#[derive(Clone, PartialEq, Message)]
struct Config {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<Linux>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Linux {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
}

/// `RunPodSandboxResponse`, and the request of every other call: a sandbox's id.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(message, optional, tag = "5")]
    network: Option<Network>,
}

#[derive(Clone, PartialEq, Message)]
struct Network {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    additional_ips: Vec<AdditionalIp>,
}

#[derive(Clone, PartialEq, Message)]
struct AdditionalIp {
    #[prost(string, tag = "1")]
    ip: String,
}

impl Cri {
    /// Connects to the service of a running containerd.
    pub fn connect(containerd: &Containerd) -> Result<Cri> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = containerd.host().path(SOCKET);
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?.timeout(LIMIT);
        let channel = runtime
            .block_on(endpoint.connect_timeout(Duration::from_secs(10)).connect())
            .with_context(|| format!("connecting to {}", socket.display()))?;
        Ok(Cri { runtime, channel, control_group: containerd.host().control_group() })
    }

    /// `RunPodSandbox`; the sandbox's id.
    pub fn run(&self, namespace: &str, name: &str, attempt: u32) -> Result<String> {
        let metadata = Metadata {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            namespace: namespace.to_owned(),
            attempt,
        };
        let config = Config {
            metadata: Some(metadata),
            hostname: name.to_owned(),
            labels: HashMap::from([("app".to_owned(), name.to_owned())]),
            linux: Some(Linux { cgroup_parent: self.control_group.clone() }),
        };
        let answer: Id = self.call("RunPodSandbox", RunRequest { config: Some(config) })?;
        ensure!(!answer.pod_sandbox_id.is_empty(), "RunPodSandbox answered no id");
        Ok(answer.pod_sandbox_id)
    }

    /// `PodSandboxStatus`.
    pub fn status(&self, id: &str) -> Result<Sandbox> {
        let answer: StatusResponse = self.call("PodSandboxStatus", sandbox(id))?;
        let status = answer.status.context("PodSandboxStatus answered no status")?;
        let network = status.network.unwrap_or_default();
        Ok(Sandbox {
            ready: status.state == 0,
            ip: network.ip,
            additional_ips: network.additional_ips.into_iter().map(|more| more.ip).collect(),
        })
    }

    /// `StopPodSandbox`.
    pub fn stop(&self, id: &str) -> Result<()> {
        self.call::<_, Empty>("StopPodSandbox", sandbox(id)).map(drop)
    }

    /// `RemovePodSandbox`.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.call::<_, Empty>("RemovePodSandbox", sandbox(id)).map(drop)
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))?;
        self.runtime
            .block_on(async {
                let mut client = Grpc::new(self.channel.clone());
                client.ready().await?;
                let codec = ProstCodec::<Q, A>::default();
                let answer = client.unary(tonic::Request::new(request), path, codec).await?;
                anyhow::Ok(answer.into_inner())
            })
            .with_context(|| method.to_owned())
    }
}

fn sandbox(id: &str) -> Id {
    Id { pod_sandbox_id: id.to_owned() }
}
