//! The OpenAPI 3.1 description of the API: schemas from the wire types, paths from the list that the router is made of. What each path
//! takes and answers is said here; a path that is not described is left out, which the test beside `docs/api/openapi.json` notices.

use std::collections::BTreeMap;

use api::access::{ApiKeyKind, CaAnswer, Pong, TokenKind, UserKind, Whoami};
use api::agent::{
    Frame, JoinAnswer, JoinRequest, LeaveRequest, RenewAnswer, RenewRequest, Report, Reported,
};
use api::container::ContainerKind;
use api::event::EventKind;
use api::host::HostKind;
use api::list::{Change, List};
use api::network::NetworkKind;
use api::problem::Problem;
use api::project::ProjectKind;
use api::resource::{Edit, Kind, New, Resource};
use control_plane::access::{self, Verb};
use control_plane::http::Paths;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

/// Where it lies, seen from this crate.
pub const FILE: &str = "../docs/api/openapi.json";

const KEY: &str = "key";
const CERTIFICATE: &str = "hostCertificate";
const LINES: &str = "application/x-ndjson";

/// The file's text.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&sorted(Document::whole())).unwrap_or_default();
    text.push('\n');
    text
}

/// By key at every depth: whether serde_json keeps another order depends on what else is built with it.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let by_key: BTreeMap<String, Value> = map.into_iter().collect();
            let sorted = by_key.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(sorted.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain => plain,
    }
}

#[derive(Default)]
struct Document {
    schemas: BTreeMap<String, Value>,
    /// Operations by path and method.
    operations: BTreeMap<(String, &'static str), Value>,
}

impl Document {
    fn whole() -> Value {
        let mut document = Self::default();
        document.general();
        document.of_agents();
        document.kind::<UserKind>("User");
        document.kind::<ApiKeyKind>("ApiKey");
        document.kind::<ProjectKind>("Project");
        document.kind::<HostKind>("Host");
        document.kind::<ContainerKind>("Container");
        document.kind::<NetworkKind>("Network");
        document.kind::<TokenKind>("Token");
        document.kind::<EventKind>("Event");
        let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (method, path) in Paths::all().known {
            let operation = document.operations.remove(&(path.clone(), method));
            let item = paths.entry(path).or_default();
            item.extend(operation.map(|operation| (method.to_owned(), operation)));
        }
        document.with_paths(paths)
    }

    fn with_paths(self, paths: BTreeMap<String, Map<String, Value>>) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "RancherOS cluster",
                "version": api::VERSION,
                "description": INTRODUCTION,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "security": [{KEY: []}],
            "paths": paths,
            "components": {
                "schemas": self.schemas,
                "responses": {"Problem": {
                    "description": "A refusal (RFC 9457), with what to do.",
                    "content": {"application/problem+json": {"schema": reference("Problem")}},
                }},
                "securitySchemes": {
                    KEY: {
                        "type": "http", "scheme": "bearer", "bearerFormat": "roskey.<id>.<secret>",
                        "description": "An API key of a user.",
                    },
                    CERTIFICATE: {
                        "type": "mutualTLS",
                        "description": "The certificate that a host was given when it joined: CN is its id, O its project.",
                    },
                },
            },
        })
    }

    /// Takes a type and all that it is made of in, under `name`.
    fn schema<T: ToSchema>(&mut self, name: &str) -> Value {
        let mut parts: Vec<(String, RefOr<Schema>)> = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut parts);
        for (part, schema) in parts {
            let is_generic = part == T::name() && name != part;
            let name = if is_generic { name } else { &part };
            let schema = serde_json::to_value(schema).unwrap_or_default();
            self.schemas.entry(name.to_owned()).or_insert(schema);
        }
        reference(name)
    }

    fn simple<T: ToSchema>(&mut self) -> Value {
        self.schema::<T>(&T::name())
    }

    fn add(&mut self, path: &str, method: &'static str, operation: Value) {
        self.operations.insert((path.to_owned(), method), operation);
    }

    fn general(&mut self) {
        self.simple::<Problem>();
        let pong = self.simple::<Pong>();
        let mut ping = operation("ping", "general", "Whether a server is there.");
        answer(&mut ping, "200", "It is.", &pong);
        ping["security"] = json!([]);
        self.add("/v1/ping", "get", ping);
        let known = self.simple::<CaAnswer>();
        let mut ca = operation(
            "ca",
            "general",
            "The CA's certificate, for whoever knows its hash.",
        );
        answer(&mut ca, "200", "It.", &known);
        ca["security"] = json!([]);
        self.add("/v1/ca", "get", ca);
        let who = self.simple::<Whoami>();
        let mut whoami = operation("whoami", "general", "Who asks, as the server sees it.");
        answer(&mut whoami, "200", "Who it is.", &who);
        whoami["security"] = json!([{KEY: []}, {CERTIFICATE: []}]);
        self.add("/v1/whoami", "get", whoami);
    }

    fn of_agents(&mut self) {
        let (asked, answered) = (self.simple::<JoinRequest>(), self.simple::<JoinAnswer>());
        let mut join = operation(
            "join",
            "agents",
            "A host joins, with a token that names the CA, too.",
        );
        body(&mut join, &asked);
        answer(&mut join, "200", "It is one of the cluster.", &answered);
        join["security"] = json!([]);
        self.add("/v1/join", "post", join);

        let (asked, answered) = (self.simple::<RenewRequest>(), self.simple::<RenewAnswer>());
        let mut renew = operation(
            "renew",
            "agents",
            "A new certificate before the old one ends.",
        );
        body(&mut renew, &asked);
        answer(&mut renew, "200", "The new one.", &answered);
        self.of_host("/v1/agent/renew", "post", renew);

        let (asked, answered) = (self.simple::<Report>(), self.simple::<Reported>());
        let mut report = operation(
            "report",
            "agents",
            "What a host tells of itself and its containers. May come twice.",
        );
        body(&mut report, &asked);
        answer(&mut report, "200", "It is kept.", &answered);
        self.of_host("/v1/agent/report", "post", report);

        let asked = self.simple::<LeaveRequest>();
        let mut leave = operation("leave", "agents", "The host leaves the cluster.");
        body(&mut leave, &asked);
        answer(&mut leave, "200", "It is out.", &json!({"type": "object"}));
        self.of_host("/v1/agent/leave", "post", leave);

        self.stream();
    }

    fn stream(&mut self) {
        let frame = self.simple::<Frame>();
        let mut stream = operation(
            "stream",
            "agents",
            "What a host must know of its project, as it changes. Does not end by itself.",
        );
        stream["parameters"] = json!([
            query(
                "instance",
                "Random, by each start of the agent: tells a restart from a second machine with the same identity.",
                true,
                "string"
            ),
            query(
                "store",
                "Id of the store of which the agent knows a state.",
                false,
                "string"
            ),
            query("revision", "That state.", false, "integer"),
        ]);
        stream["responses"]["200"] = json!({
            "description": "One frame a line, in the content coding `deflate`.",
            "content": {LINES: {"schema": frame}},
        });
        self.of_host("/v1/agent/stream", "get", stream);
    }

    fn of_host(&mut self, path: &str, method: &'static str, mut operation: Value) {
        operation["security"] = json!([{CERTIFICATE: []}]);
        self.add(path, method, operation);
    }

    fn kind<K: Kind>(&mut self, name: &str)
    where
        K::Spec: ToSchema,
        K::Status: ToSchema,
    {
        self.simple::<K::Spec>();
        self.simple::<K::Status>();
        let plain = self.schema::<Resource<K::Spec, K::Status>>(name);
        let (list, change) = (format!("{name}List"), format!("{name}Change"));
        let list = self.with_objects::<List<Resource<K::Spec, K::Status>>>(&list, name);
        let change = self.with_objects::<Change<Resource<K::Spec, K::Status>>>(&change, name);
        let mut told = in_folder::<K>(operation(
            &format!("list{name}"),
            K::PLURAL,
            &format!(
                "The {}, or with `watch` their changes from now on.",
                K::PLURAL
            ),
        ));
        list_parameters(&mut told);
        told["responses"]["200"] = json!({
            "description": "A page; with `watch`, one change a line.",
            "content": {"application/json": {"schema": list}, LINES: {"schema": change}},
        });
        if K::PLURAL == EventKind::PLURAL {
            let mut all = told.clone();
            all["operationId"] = json!("listAllEvents");
            all["summary"] =
                json!("The events of all projects and of the cluster itself, for administrators.");
            if let Some(parameters) = all["parameters"].as_array_mut() {
                parameters.retain(|one| one["name"] != "project");
            }
            self.add("/v1/events", "get", all);
        }
        self.add(&folder::<K>(), "get", told);

        let mut told = on_object::<K>(operation(
            &format!("get{name}"),
            K::PLURAL,
            &format!("One {}.", K::NAME),
        ));
        answer(&mut told, "200", "It is there.", &plain);
        self.add(&object::<K>(), "get", told);
        self.changes_of_kind::<K>(name, &plain);
    }

    /// What somebody may do, of making, changing and removing.
    fn changes_of_kind<K: Kind>(&mut self, name: &str, plain: &Value)
    where
        K::Spec: ToSchema,
    {
        let titled =
            |verb: &str, text: String| operation(&format!("{verb}{name}"), K::PLURAL, &text);
        if access::is_possible::<K>(Verb::Create) {
            let made = self.schema::<New<K::Spec>>(&format!("New{name}"));
            let mut told = in_folder::<K>(titled("create", format!("Makes a {}.", K::NAME)));
            body(&mut told, &made);
            answer(&mut told, "201", "It is made.", plain);
            self.add(&folder::<K>(), "post", told);
        }
        if access::is_possible::<K>(Verb::Update) {
            let edited = self.schema::<Edit<K::Spec>>(&format!("Edit{name}"));
            let text = format!(
                "Changes a {}: all of its labels and its whole spec.",
                K::NAME
            );
            let mut told = on_object::<K>(titled("update", text));
            body(&mut told, &edited);
            answer(&mut told, "200", "As it is now.", plain);
            self.add(&object::<K>(), "put", told);
        }
        if access::is_possible::<K>(Verb::Delete) {
            let mut told = on_object::<K>(titled("delete", format!("Removes a {}.", K::NAME)));
            told["responses"]["204"] = json!({"description": "It is gone."});
            self.add(&object::<K>(), "delete", told);
        }
    }

    /// The same as [`Self::schema`] for what holds objects of the kind `name`, which are described elsewhere.
    fn with_objects<T: ToSchema>(&mut self, name: &str, object: &str) -> Value {
        let mut schema = serde_json::to_value(T::schema()).unwrap_or_default();
        refer(&mut schema, "Resource", object);
        self.schemas.insert(name.to_owned(), schema);
        reference(name)
    }
}

const INTRODUCTION: &str = "Resources with spec and status apart. An update names the revision that was read, and is refused when the \
object has changed since. Projects and objects may be named by id or by name. Every answer that is no success is a Problem.";

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn folder<K: Kind>() -> String {
    if K::IN_PROJECT {
        format!("/v1/projects/{{project}}/{}", K::PLURAL)
    } else {
        format!("/v1/{}", K::PLURAL)
    }
}

fn object<K: Kind>() -> String {
    format!("{}/{{id}}", folder::<K>())
}

/// Lets references to `from` and its generic forms lead to `to`.
fn refer(schema: &mut Value, from: &str, to: &str) {
    match schema {
        Value::Object(map) => {
            let leads = map.get("$ref").and_then(Value::as_str);
            if leads.is_some_and(|path| path.starts_with(&format!("#/components/schemas/{from}"))) {
                *schema = reference(to);
            } else {
                map.values_mut().for_each(|value| refer(value, from, to));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, from, to)),
        _ => {}
    }
}

fn operation(id: &str, tag: &str, summary: &str) -> Value {
    json!({
        "operationId": id,
        "tags": [tag],
        "summary": summary,
        "responses": {"default": {"$ref": "#/components/responses/Problem"}},
    })
}

fn body(operation: &mut Value, schema: &Value) {
    operation["requestBody"] =
        json!({"required": true, "content": {"application/json": {"schema": schema}}});
}

fn answer(operation: &mut Value, status: &str, text: &str, schema: &Value) {
    operation["responses"][status] =
        json!({"description": text, "content": {"application/json": {"schema": schema}}});
}

fn query(name: &str, text: &str, is_required: bool, kind: &str) -> Value {
    json!({
        "name": name, "in": "query", "description": text, "required": is_required, "schema": {"type": kind},
    })
}

fn in_path(name: &str, text: &str) -> Value {
    json!({
        "name": name, "in": "path", "description": text, "required": true, "schema": {"type": "string"},
    })
}

fn in_folder<K: Kind>(mut operation: Value) -> Value {
    operation["parameters"] = if K::IN_PROJECT {
        json!([in_path("project", "Id or name of the project.")])
    } else {
        json!([])
    };
    operation
}

fn on_object<K: Kind>(operation: Value) -> Value {
    let mut operation = in_folder::<K>(operation);
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(in_path("id", &format!("Id or name of the {}.", K::NAME)));
    }
    operation
}

fn list_parameters(operation: &mut Value) {
    let Some(parameters) = operation["parameters"].as_array_mut() else {
        return;
    };
    parameters.extend([
        query(
            "limit",
            "Objects of a page, 1 to 1000; 500 unless given.",
            false,
            "integer",
        ),
        query("continue", "`next` of the page before.", false, "string"),
        query("name", "Only the one with this name.", false, "string"),
        query(
            "label",
            "Only those with these labels: `a=b,c` (c with any value).",
            false,
            "string",
        ),
        query(
            "watch",
            "Changes from now on instead of a list.",
            false,
            "boolean",
        ),
        query(
            "revision",
            "With `watch`: the revision after which to begin.",
            false,
            "integer",
        ),
    ]);
}
