//! IPPool (`reference/datamodel.md` section 7.1). Its defaults and rules are those of
//! [`crate::resources::IpPoolSpec`].

use crate::resources::schema::field::{Field, TEXT, flag, int, list, object, text, time};

pub(super) const SPEC: &[Field] = &[
    text("cidr").always(),
    text("vxlanMode"),
    text("ipipMode"),
    flag("natOutgoing"),
    flag("disabled"),
    flag("disableBGPExport"),
    int("blockSize"),
    text("nodeSelector"),
    text("namespaceSelector"),
    list("allowedUses", TEXT),
    text("assignmentMode"),
];

pub(super) const STATUS: &[Field] = &[list("conditions", &object("", CONDITION))];

const CONDITION: &[Field] = &[
    text("type").always(),
    text("status").always(),
    int("observedGeneration"),
    time("lastTransitionTime").always(),
    text("reason").always(),
    text("message").always(),
];
