//! CHECK: is the attachment still what ADD made (`reference/cni-plugin.md` section 5.8)?

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cni::{AddResult, Error, Request, code};
use cni_ipam::run::Deadline;
use cni_ipam::{check as ipam_check, datastore, fault, run};
use libcalico::resources::{WorkloadEndpoint, WorkloadEndpointSpec};

use crate::attachment::Attachment;
use crate::conf::Conf;
use crate::dataplane::verify::{self, Expected};
use crate::dataplane::{self, Sockets};
use crate::delegate::Delegate;
use crate::endpoint;

/// The stored endpoint is missing or another container's.
const ENDPOINT: u32 = code::CHECK + 7;
/// How long Felix may take to put its own route in the place of ours.
const ROUTE_PATIENCE: Duration = Duration::from_secs(2);
const ROUTE_PAUSE: Duration = Duration::from_millis(100);

/// Compares kernel, store and IPAM with the previous result.
pub async fn check(conf: Conf, request: &Request, end: Deadline) -> Result<(), Error> {
    let attachment = Attachment::of(conf, request)?;
    let Some(previous) = request.config.prev_result()? else {
        return Err(Error::new(
            code::INVALID_CONFIG,
            "prevResult is missing: CHECK compares with the result of ADD, which the runtime keeps",
        ));
    };
    let path = request.netns.as_deref().unwrap_or(Path::new(""));
    let netns = dataplane::open_netns(path, request.netns_override)?;
    let sockets = Sockets::open(netns)?;
    let mut findings = Vec::new();
    let endpoint = stored(&attachment, &previous, &mut findings, end).await?;
    let spec = endpoint.map(|endpoint| endpoint.spec).unwrap_or_default();
    findings.extend(kernel(&attachment, &sockets, &previous, &spec, request).await?);
    if !attachment.has_own_ipam() {
        findings.extend(match Delegate::find(request) {
            Ok(delegate) => delegate.check(end).await.err(),
            Err(error) => Some(error),
        });
    }
    let mut findings = findings.into_iter();
    match findings.next() {
        None => Ok(()),
        Some(first) => {
            let others: Vec<String> = findings.map(|finding| finding.msg).collect();
            Err(first.details(others.join("; ")))
        }
    }
}

/// The addresses that ADD gave this interface.
fn addresses(previous: &AddResult, ifname: &str) -> Vec<IpAddr> {
    let is_ours = |index: Option<usize>| {
        index
            .and_then(|index| previous.interfaces.get(index))
            .is_none_or(|interface| interface.name == ifname)
    };
    let ips = previous.ips.iter().filter(|ip| is_ours(ip.interface));
    ips.map(|ip| ip.address.addr()).collect()
}

/// Compares with the store; answers the endpoint that it has.
async fn stored(
    attachment: &Attachment,
    previous: &AddResult,
    findings: &mut Vec<Error>,
    end: Deadline,
) -> Result<Option<WorkloadEndpoint>, Error> {
    let identity = &attachment.identity;
    let datastore = datastore::open(&attachment.conf.shared, &identity.node)?;
    let deadline = end.within(run::STORE_LIMIT);
    let queries = [datastore::readiness_query(), attachment.endpoint.query()];
    let snapshot =
        datastore.store.read(&queries, deadline).await.map_err(|error| fault::store(&error))?;
    let answer = |at: usize| snapshot.results.get(at).map(Vec::as_slice).unwrap_or_default();
    // An embedded store that holds nothing has no endpoint either: that is the finding.
    if !datastore.is_fresh(answer(0)) {
        datastore::ensure_ready(answer(0), &*datastore.store)?;
    }
    let found = attachment.endpoint.find(answer(1)).map_err(|error| fault::damaged(&error))?;
    let expected = addresses(previous, &identity.ifname);
    let mut finding = |message: String| findings.push(Error::new(ENDPOINT, message));
    match &found.mine {
        None => finding(format!(
            "the datastore has no WorkloadEndpoint of container {}: somebody deleted it, so \
             policy doesn't apply; restart the container",
            identity.container_id
        )),
        Some(mine) => {
            let spec = &mine.endpoint.spec;
            if !attachment.endpoint.owns(&mine.endpoint) {
                finding(format!(
                    "WorkloadEndpoint {} is container {}'s: this one was replaced",
                    mine.endpoint.metadata.name, spec.container_id
                ));
            }
            let there = endpoint::addresses(&mine.endpoint);
            for address in expected.iter().filter(|address| !there.contains(address)) {
                finding(format!(
                    "WorkloadEndpoint {} lacks the address {address}",
                    mine.endpoint.metadata.name
                ));
            }
        }
    }
    if attachment.has_own_ipam() {
        let held = ipam_check::holds(&*datastore.store, identity, expected, end).await;
        findings.extend(held.err());
    }
    Ok(found.mine.map(|mine| mine.endpoint))
}

/// Compares with the kernel. A missing route of the host gets some time: Felix may be replacing it.
async fn kernel(
    attachment: &Attachment,
    sockets: &Sockets,
    previous: &AddResult,
    endpoint: &WorkloadEndpointSpec,
    request: &Request,
) -> Result<Vec<Error>, Error> {
    let ifname = request.ifname.as_str();
    let addresses = addresses(previous, ifname);
    let interface = previous
        .interfaces
        .iter()
        .find(|interface| interface.name == ifname && !interface.sandbox.is_empty());
    let expected = Expected {
        ifname,
        mac: interface.and_then(|interface| interface.mac.parse().ok()),
        mtu: interface.and_then(|interface| interface.mtu),
        addresses: &addresses,
        host_link: match endpoint.interface_name.as_str() {
            "" => &attachment.host_link.name,
            name => name,
        },
        routing: &attachment.routing,
        may_spoof: !endpoint.allow_spoofed_source_prefixes.is_empty(),
    };
    let deadline = run::deadline(ROUTE_PATIENCE);
    loop {
        let findings = sockets.verify(&expected).await?;
        let only_routes = findings.iter().all(|finding| finding.code == verify::HOST_ROUTE);
        if findings.is_empty() || !only_routes || std::time::Instant::now() >= deadline {
            return Ok(findings);
        }
        tokio::time::sleep(ROUTE_PAUSE).await;
    }
}
