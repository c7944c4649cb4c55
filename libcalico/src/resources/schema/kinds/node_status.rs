//! CalicoNodeStatus: what a node is asked to report of itself, and what it reports.

use super::super::form::*;
use crate::resources::schema::field::Check::{Distinct, Form, OneOf, Range, Required};
use crate::resources::schema::field::{Field, int, list, natural, object, text, time};

pub(super) const SPEC: &[Field] = &[
    text("node").called("Node").checked(&[Required, Form(is_name, NAME)]),
    list("classes", &text("").checked(&[OneOf(&["Agent", "BGP", "Routes"])])).checked(&[Distinct]),
    natural("updatePeriodSeconds", u32::MAX)
        .kept()
        .called("UpdatePeriodSeconds")
        .checked(&[Required, Range(0, 86400)]),
];

pub(super) const STATUS: &[Field] = &[
    time("lastUpdated").always(),
    object("agent", &[object("birdV4", BIRD).always(), object("birdV6", BIRD).always()]).always(),
    object("bgp", BGP).always(),
    object("routes", &[list("routesV4", &object("", ROUTE)), list("routesV6", &object("", ROUTE))])
        .always(),
];

const BIRD: &[Field] = &[
    text("state"),
    text("version"),
    text("routerID"),
    text("lastBootTime"),
    text("lastReconfigurationTime"),
];

const BGP: &[Field] = &[
    int("numberEstablishedV4").always(),
    int("numberNotEstablishedV4").always(),
    int("numberEstablishedV6").always(),
    int("numberNotEstablishedV6").always(),
    list("peersV4", &object("", PEER)),
    list("peersV6", &object("", PEER)),
];

const PEER: &[Field] = &[text("peerIP"), text("type"), text("state"), text("since")];

const ROUTE: &[Field] = &[
    text("type"),
    text("destination"),
    text("gateway"),
    text("interface"),
    object("learnedFrom", &[text("sourceType"), text("peerIP")]).always(),
];
