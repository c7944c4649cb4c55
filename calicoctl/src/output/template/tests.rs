use serde_json::json;

use super::*;

fn data() -> Value {
    json!([{
        "kind": "IPPoolList", "apiVersion": "projectcalico.org/v3",
        "metadata": {"resourceVersion": "9"},
        "items": [
            {"kind": "IPPool", "apiVersion": "projectcalico.org/v3",
             "metadata": {"name": "pool-a", "labels": {"env": "lab", "b": "2"}},
             "spec": {"cidr": "10.65.0.0/16", "blockSize": 26,
                      "allowedUses": ["Workload", "Tunnel"], "ipipMode": "Never"}},
            {"kind": "IPPool", "apiVersion": "projectcalico.org/v3",
             "metadata": {"name": "pool-b"},
             "spec": {"cidr": "10.66.0.0/24", "blockSize": 28, "natOutgoing": true}},
        ],
    }])
}

fn render(template: &str) -> String {
    let template = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    template.render(data(), &Facts::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn error(template: &str) -> String {
    let rendered = Template::parse(template).and_then(|t| t.render(data(), &Facts::default()));
    rendered.expect_err(template).to_string()
}

/// A template about each pool.
fn each(template: &str) -> String {
    render(&format!("{{{{range .}}}}{{{{range .Items}}}}{template}{{{{end}}}}{{{{end}}}}"))
}

#[test]
fn fields_go_by_the_names_of_go() {
    let rendered = each("{{.ObjectMeta.Name}},{{.Spec.CIDR}}{{\"\\n\"}}");
    assert_eq!(rendered, "pool-a,10.65.0.0/16\npool-b,10.66.0.0/24\n");
    assert_eq!(each("{{.Name}} {{.Kind}};"), "pool-a IPPool;pool-b IPPool;");
    assert_eq!(each("{{.Spec.NATOutgoing}};"), ";true;");
    assert_eq!(each("{{.metadata.labels.env}};"), "lab;;");
}

#[test]
fn actions_work() {
    for (template, expected) in [
        ("{{if .Spec.NATOutgoing}}nat{{else}}no{{end}};", "no;nat;"),
        ("{{if eq .Name \"x\"}}x{{else if eq .Spec.BlockSize 28}}28{{else}}-{{end}};", "-;28;"),
        ("{{with .Labels}}{{.env}}{{else}}none{{end}};", "lab;none;"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}},{{else}}none{{end}};", "b=2,env=lab,;none;"),
        ("{{range $i, $u := .Spec.AllowedUses}}{{$i}}{{$u}} {{end}};", "0Workload 1Tunnel ;;"),
        ("{{$n := .Name}}{{$n}}{{$n = \"z\"}}{{$n}};", "pool-az;pool-bz;"),
        ("{{/* nothing */}}x;", "x;x;"),
        ("a {{- .Name -}} b;", "apool-ab;apool-bb;"),
        (
            "{{range .Spec.AllowedUses}}{{if eq . \"Tunnel\"}}{{break}}{{end}}{{.}}{{end}};",
            "Workload;;",
        ),
        (
            "{{range .Spec.AllowedUses}}{{if ne . \"Tunnel\"}}{{continue}}{{end}}{{.}}{{end}};",
            "Tunnel;;",
        ),
        ("{{(index .Spec.AllowedUses 0)}};", ""),
    ] {
        match expected {
            "" => assert!(
                error(&format!(
                    "{{{{range .}}}}{{{{range .Items}}}}{template}{{{{end}}}}{{{{end}}}}"
                ))
                .contains("index")
            ),
            expected => assert_eq!(each(template), expected, "{template}"),
        }
    }
}

#[test]
fn functions_work() {
    for (template, expected) in [
        ("{{printf \"%-8s|%4d|%v|%q|%%\" .Name .Spec.BlockSize true .Name}};", {
            "pool-a  |  26|true|\"pool-a\"|%;pool-b  |  28|true|\"pool-b\"|%;"
        }),
        ("{{len .Spec.AllowedUses}}{{len .Name}};", "26;06;"),
        ("{{join .Spec.AllowedUses \",\"}};", "Workload,Tunnel;;"),
        ("{{joinAndTruncate .Spec.AllowedUses \",\" 10}};", "Workloa...;;"),
        ("{{config \"asnumber\"}};", "64512;64512;"),
        ("{{index .Labels \"env\"}};", "lab;;"),
        ("{{.Spec.BlockSize | printf \"%03d\"}};", "026;028;"),
        ("{{eq .Spec.NATOutgoing false}} {{ne .Name \"pool-a\"}};", "true false;false true;"),
        ("{{lt .Spec.BlockSize 27}} {{ge .Spec.BlockSize 27}};", "true false;false true;"),
        ("{{and .Spec.NATOutgoing .Name}}{{or .Spec.NATOutgoing .Name}};", "pool-a;pool-btrue;"),
        ("{{not .Spec.NATOutgoing}};", "true;false;"),
        // What decides comes first, and the rest isn't looked at.
        ("{{if and .Spec.AllowedUses (index .Spec.AllowedUses 0)}}y{{end}};", "y;;"),
        ("{{if or (not .Spec.AllowedUses) (index .Spec.AllowedUses 0)}}y{{end}};", "y;y;"),
        ("{{.Name | and .Spec.NATOutgoing}};", ";pool-b;"),
        ("{{print .Name 1}};", "pool-a1;pool-b1;"),
        ("{{if (and (eq .Spec.BlockSize 26) (not .Spec.Disabled))}}y{{end}};", "y;;"),
        ("{{.Spec.AllowedUses}};", "[Workload Tunnel];;"),
        ("{{`raw \\n`}};", "raw \\n;raw \\n;"),
    ] {
        assert_eq!(each(template), expected, "{template}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (template, expected) in [
        ("{{", "line 1: an action without its }}"),
        ("{{range .}}{{.Nope}}{{end}}", "can't evaluate field Nope in a resource"),
        ("{{.Nope}}", "can't evaluate field Nope in a list"),
        ("\n{{html .}}", "line 2: the function html is not supported: use -o custom-columns"),
        ("{{template \"x\"}}", "line 1: template is not supported"),
        ("{{range .}}", "without its {{end}}"),
        (
            "{{range .items}}{{end}}",
            "field items in a list: a template begins with the list of all",
        ),
        ("{{if .}}{{break}}{{end}}", "line 1: break or continue outside of a range"),
        ("{{end}}", "unexpected else or end"),
        ("{{if .}}a{{else}}b", "without its {{end}}"),
        ("{{\"a}}", "a text without its end"),
        ("{{$x}}", "$x"),
        ("{{printf \"%d\" \"a\"}}", "printf: %d can't show a"),
        ("{{. | .}}", "only a function"),
        ("{{range 3}}{{end}}", "range can't iterate over a number"),
        ("{{config \"x\"}}", "config: it only knows"),
        ("{{#}}", "unexpected '#'"),
        ("{{}}", "a value is missing"),
    ] {
        assert!(error(template).contains(expected), "{template}: {}", error(template));
    }
    let deep = "{{if .}}".repeat(500);
    assert!(error(&deep).contains("nested too deeply"));
    let deep = format!("{{{{{}}}}}", "(".repeat(500));
    assert!(error(&deep).contains("nested too deeply"));
}
