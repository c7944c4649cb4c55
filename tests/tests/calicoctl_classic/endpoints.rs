//! Endpoints, their profiles, and nodes that leave.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Network, objects};

use crate::{endpoint, refuses, says, spec};

tests::on_both_stores! {
    endpoints
    profiles_of_endpoints
    a_node_leaves_the_cluster
}

fn endpoints(network: &Network) -> Result<()> {
    let id = "0123456789abcdef";
    network.put([
        endpoint(
            "node-a",
            "docker",
            id,
            &json!({"ipNetworks": ["10.65.0.5/32", "fd00:65::5/128"], "mac": "02:00:00:00:00:01",
                    "profiles": ["web", "db"]}),
        ),
        endpoint("node-a", "docker", id, &json!({"endpoint": "eth1"})),
        endpoint("node-b", "cni", "c1", &json!({"profiles": ["web"]})),
    ])?;
    for name in ["web", "db", "idle"] {
        network.ctl(&format!("profile add {name}")).ok()?;
    }
    says(
        network.ctl("endpoint show"),
        "\
+----------+-----------------+---------------------+---------------------+
| Hostname | Orchestrator ID | Number of Workloads | Number of Endpoints |
+----------+-----------------+---------------------+---------------------+
|  node-a  |     docker      |          1          |          2          |
|  node-b  |       cni       |          1          |          1          |
+----------+-----------------+---------------------+---------------------+
",
    )?;
    says(
        network.ctl("endpoint show --detailed --endpoint=eth0 --host=node-a"),
        "\
+----------+-----------------+------------------+--------------------------------------+----------------+-------------------+----------+--------+
| Hostname | Orchestrator ID |   Workload ID    |             Endpoint ID              |   Addresses    |        MAC        | Profiles | State  |
+----------+-----------------+------------------+--------------------------------------+----------------+-------------------+----------+--------+
|  node-a  |     docker      | 0123456789abcdef | node--a-docker-0123456789abcdef-eth0 |  10.65.0.5/32  | 02:00:00:00:00:01 |  web,db  | active |
|          |                 |                  |                                      | fd00:65::5/128 |                   |          |        |
+----------+-----------------+------------------+--------------------------------------+----------------+-------------------+----------+--------+
",
    )?;
    let rows = |line: &str| -> Result<usize> {
        Ok(network.ctl(line).ok()?.lines().filter(|line| line.starts_with("|  node")).count())
    };
    for (line, count) in [
        ("endpoint show --detailed", 3),
        ("endpoint show --detailed --orchestrator=cni", 1),
        ("endpoint show --detailed --workload=0123456789abcdef", 2),
        ("endpoint show --detailed --workload=c1 --host=node-a", 0),
        ("endpoint show --host=node-b", 1),
    ] {
        ensure!(rows(line)? == count, "{line}: {}", network.ctl(line).ok()?);
    }
    let members = network.ctl("profile show --detailed").ok()?;
    let row = |cells: [&str; 6]| -> Result<()> {
        let line = members
            .lines()
            .find(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).eq(cells));
        ensure!(line.is_some(), "no {cells:?} in\n{members}");
        Ok(())
    };
    row(["Name", "Host", "Workload Type", "Workload ID", "Endpoint ID", "State"])?;
    let a = "node--a-docker-0123456789abcdef-eth0";
    row(["db", "node-a", "docker", "0123456789ab", a, "active"])?;
    row(["web", "node-a", "docker", "0123456789ab", a, "active"])?;
    row(["web", "node-b", "cni", "c1", "node--b-cni-c1-eth0", "active"])?;
    row(["idle", "None", "None", "None", "None", "None"])
}

fn profiles_of_endpoints(network: &Network) -> Result<()> {
    network.put([
        endpoint("node-a", "docker", "c1", &json!({})),
        endpoint("node-a", "docker", "c2", &json!({})),
    ])?;
    for name in ["web", "db"] {
        network.ctl(&format!("profile add {name}")).ok()?;
    }
    let e = "node--a-docker-c1-eth0";
    says(
        network.ctl(&format!("endpoint {e} profile show")),
        "Endpoint has no profiles associated with it.\n",
    )?;
    says(
        network.ctl(&format!("endpoint {e} profile append web db")),
        &format!("Profiles web, db appended to {e}.\n"),
    )?;
    says(
        network.ctl(&format!("endpoint {e} profile show")),
        "+------+\n| Name |\n+------+\n|  db  |\n| web  |\n+------+\n",
    )?;
    let profiles =
        || -> Result<Value> { Ok(network.store().endpoint(e)?.1["spec"]["profiles"].clone()) };
    ensure!(profiles()? == json!(["web", "db"]));
    says(
        network.ctl(&format!("endpoint {e} profile remove web")),
        &format!("Profiles web removed from {e}.\n"),
    )?;
    says(
        network.ctl(&format!("endpoint {e} profile set web")),
        &format!("Profiles web set for {e}.\n"),
    )?;
    ensure!(profiles()? == json!(["web"]));
    // Without the id, by what else is known.
    says(
        network.ctl("endpoint profile append --workload=c1 --orchestrator=docker db"),
        "Profiles db appended\n",
    )?;
    says(
        network.ctl("endpoint eth0 profile remove --workload=c1 db"),
        "Profiles db removed from eth0.\n",
    )?;
    ensure!(profiles()? == json!(["web"]));
    for (line, reason) in [
        (
            format!("endpoint {e} profile append web"),
            "Profile web is already in endpoint profile list",
        ),
        (format!("endpoint {e} profile append none"), "Profile none not found."),
        (format!("endpoint {e} profile remove db"), "Profile db is not in endpoint profile list"),
        ("endpoint missing profile show".into(), "Endpoint missing is unknown to Calico."),
        (
            format!("endpoint {e} profile append --host=node-b web"),
            "Endpoint node--a-docker-c1-eth0 is unknown to Calico.",
        ),
        (
            "endpoint eth0 profile append db".into(),
            "More than 1 endpoint matches (node--a-docker-c1-eth0, node--a-docker-c2-eth0): say \
             which with --host, --orchestrator, --workload or --endpoint.",
        ),
    ] {
        refuses(network.ctl(&line), reason)?;
    }
    ensure!(profiles()? == json!(["web"]));
    says(network.ctl(&format!("endpoint {e} profile set")), &format!("Profiles  set for {e}.\n"))?;
    ensure!(profiles()? == Value::Null);
    Ok(())
}

fn a_node_leaves_the_cluster(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.65.0.0/24", 26)])?;
    let _pod = network.host().pod("a")?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    refuses(
        network.ctl("node stop"),
        "node node-a has 1 active endpoints: remove the containers first, or use --force",
    )?;
    says(network.ctl("node stop --force"), "Node node-a is out of the cluster\n")?;
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().is_empty() && dump.allocations().is_empty(), "{dump:#?}");
    ensure!(dump.handles().is_empty() && spec(network, "nodes", "node-a").is_err());
    refuses(network.ctl("node stop"), "node node-a is unknown to Calico")?;
    // The link goes with its container, or so.
    says(
        network.ctl("container remove /run/netns/a"),
        "Removed Calico interface from /run/netns/a\n",
    )
}
