//! Kubernetes' ObjectMeta.

use crate::resources::schema::field::{
    Field, TEXT, flag, free, int, list, map, object, text, time,
};

pub(in crate::resources::schema) const METADATA: &[Field] = &[
    text("name"),
    text("generateName"),
    text("namespace"),
    text("selfLink"),
    text("uid"),
    text("resourceVersion"),
    int("generation"),
    time("creationTimestamp"),
    time("deletionTimestamp"),
    int("deletionGracePeriodSeconds").kept(),
    map("labels"),
    map("annotations"),
    list("ownerReferences", &object("", OWNER)),
    list("finalizers", TEXT),
    list("managedFields", &free("")),
];

const OWNER: &[Field] = &[
    text("apiVersion").always(),
    text("kind").always(),
    text("name").always(),
    text("uid").always(),
    flag("controller").kept(),
    flag("blockOwnerDeletion").kept(),
];
