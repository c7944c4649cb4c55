//! `ipam map` on real stores; how the pictures look is tested beside the drawing itself.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Network, objects, on_both_stores};

use crate::{containers, endpoint, json_of};

on_both_stores! {
    a_pool_is_drawn_in_every_form
    what_is_not_there_is_refused
}

fn a_pool_is_drawn_in_every_form(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1", "c2"])?;
    network.put([endpoint("w1", &ips[0]), objects::reservation("r", &["10.66.0.15"])])?;
    let before = network.store().dump()?;
    let text = network.ctl("ipam map").ok()?;
    ensure!(
        text.starts_with("pool-a  10.66.0.0/28\n1 of 4 blocks of /30 claimed; 2 in use"),
        "{text}"
    );
    for part in
        ["leaked: ", "node-a: 1 block, 2 addresses", "!  leaked", "#  reserved", "AAAA!!!!aaaaaaaa"]
    {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    ensure!(text.is_ascii(), "no terminal, no colours: {text}");
    let colour = network.ctl("ipam map --color always").env("COLORTERM", "truecolor").ok()?;
    ensure!(colour.contains("\x1b[38;2;"), "{colour}");
    let image = network.ctl("ipam map -o svg").ok()?;
    ensure!(image.starts_with("<svg ") && image.ends_with("</svg>\n"), "{image}");
    let nothing = network.ctl("ipam map -o svg --file map.svg").ok()?;
    let file = std::fs::read_to_string(network.host().path("/var/lib/operator/map.svg"))?;
    ensure!(nothing.is_empty() && file == image);
    let data = json_of(network, "ipam map -o json")?;
    let counts = &data["pools"][0]["counts"];
    ensure!(counts["inUse"] == 2 && counts["leaked"] == 1 && counts["reserved"] == 1, "{counts}");
    ensure!(data["nodes"][0]["name"] == "node-a", "{data}");
    let part = json_of(network, "ipam map -o json --cidr 10.66.0.12/30")?;
    ensure!(part["pools"][0]["counts"]["inUse"] == json!(0), "{part}");
    ensure!(network.store().dump()? == before, "a picture changes nothing");
    network.remove(&endpoint("w1", &ips[0]).0)
}

fn what_is_not_there_is_refused(network: &Network) -> Result<()> {
    ensure!(network.ctl("ipam map").ok()? == "There are no IP pools.\n");
    containers(network, &[])?;
    let refused = network.ctl("ipam map --pool pool-b").refused()?;
    ensure!(refused == "there is no IP pool pool-b; there are [pool-a]\n", "{refused}");
    let refused = network.ctl("ipam map --cidr 10.99.0.0/24").refused()?;
    ensure!(refused.starts_with("no IP pool has addresses of 10.99.0.0/24"), "{refused}");
    let refused = network.ctl("ipam map --cidr nonsense").run()?;
    ensure!(refused.exit == Some(1), "{refused:?}");
    Ok(())
}
