//! KubeControllersConfiguration (`reference/datamodel.md` section 7.11).

use super::super::form::*;
use super::{ENABLED, must_be_default};
use crate::resources::AnyResource;
use crate::resources::schema::field::Check::{
    Annotations, Distinct, Form, Labels, MaxLength, OneOf, Range, Selector,
};
use crate::resources::schema::field::{Field, duration, int, int32, list, map, object, text};
use crate::resources::validation::FieldErrors;

pub(super) const SPEC: &[Field] = &[
    text("logSeverityScreen").checked(&[OneOf(LOG_LEVELS)]),
    text("healthChecks").checked(ENABLED).or_text("Enabled"),
    duration("etcdV3CompactionPeriod").kept(),
    int("prometheusMetricsPort").kept().checked(&[Range(0, 65535)]).or_whole(9094),
    object("controllers", CONTROLLERS).always(),
    int32("debugProfilePort").kept().checked(&[Range(0, 65535)]),
];

const LOG_LEVELS: &[&str] =
    &["None", "Trace", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"];

const CONTROLLERS: &[Field] = &[
    object("node", NODE).kept(),
    object("policy", RECONCILER).kept(),
    object("workloadEndpoint", RECONCILER).kept(),
    object("serviceAccount", RECONCILER).kept(),
    object("namespace", RECONCILER).kept(),
    object("loadBalancer", LOAD_BALANCER).kept(),
    object("migration", &[text("policyNameMigrator").checked(ENABLED).or_text("Enabled")]).kept(),
];

const RECONCILER: &[Field] = &[duration("reconcilerPeriod").kept()];

const LOAD_BALANCER: &[Field] = &[text("assignIPs")
    .checked(&[OneOf(&["AllServices", "RequestedServicesOnly"])])
    .or_text("AllServices")];

const NODE: &[Field] = &[
    duration("reconcilerPeriod").kept(),
    text("syncLabels").checked(ENABLED),
    object("hostEndpoint", HOST_ENDPOINT).kept(),
    duration("leakGracePeriod").kept().or_text("15m0s"),
];

const HOST_ENDPOINT: &[Field] = &[
    text("autoCreate").checked(ENABLED),
    text("createDefaultHostEndpoint").checked(ENABLED),
    list("templates", &object("", TEMPLATE)),
];

const TEMPLATE: &[Field] = &[
    text("generateName").checked(&[MaxLength(253)]),
    list("interfaceCIDRs", &text("").checked(&[Form(is_net, NET)])).checked(&[Distinct]),
    text("interfacePattern"),
    map("labels").called("Labels").checked(&[Labels]),
    map("annotations").called("Annotations").checked(&[Annotations]),
    text("nodeSelector").called("NodeSelector").checked(&[Selector]),
];

pub(super) const STATUS: &[Field] = &[object("runningConfig", SPEC).kept(), map("environmentVars")];

/// Rules beyond the table.
pub(super) fn check(object: &AnyResource, _old: Option<&AnyResource>, errors: &mut FieldErrors) {
    must_be_default(object, errors);
}
