//! What is cut in the cells of tables.

use anyhow::Result;
use serde_json::Value;
use tests::{Network, on_both_stores};

use crate::objects::{self, kind};
use crate::{Case, call, play, with};

on_both_stores! {
    tables
}

const CASES: &[Case] = &[
    ("test_ip_reservation_no_truncation", |network| {
        wide(network, &objects::reservation(), "10.0.1.0/24,11.0.0.1/32")
    }),
    ("test_ip_reservation_truncation", |network| {
        let mut reservation = objects::reservation();
        reservation["spec"]["reservedCIDRs"] = objects::many_nets();
        wide(network, &reservation, CUT)
    }),
    ("test_nets_truncation (GlobalNetworkSet)", |network| {
        wide(network, &objects::global_set(objects::many_nets()), CUT)
    }),
    ("test_nets_truncation (NetworkSet)", |network| {
        wide(network, &objects::set(objects::many_nets()), CUT)
    }),
    ("test_nets_no_truncation (GlobalNetworkSet)", |network| {
        wide(network, &objects::global_set(objects::few_nets()), FEW)
    }),
    ("test_nets_no_truncation (NetworkSet)", |network| {
        wide(network, &objects::set(objects::few_nets()), FEW)
    }),
];

/// 77 characters and dots.
const CUT: &str =
    "10.0.0.0/28,10.0.1.0/28,10.0.2.0/28,10.0.3.0/28,10.0.4.0/28,10.0.5.0/28,10.0....   \n";

const FEW: &str = "10.0.0.1,11.0.0.0/16,feed:beef::1,dead:beef::96   \n";

fn tables(network: &Network) -> Result<()> {
    play(network, CASES)
}

fn wide(network: &Network, data: &Value, cell: &str) -> Result<()> {
    with(network, "create", data)?.fine()?;
    call(network, &format!("get {} -o wide", kind(data)))?.fine()?.contains(cell)?;
    Ok(())
}
