//! The tree that paths lead through: lists of objects, found by index, name or uuid, and the root as each asker sees it. Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use api::Id;
use api::agent::ContainerFact;

use super::index::{Index, Service};
use super::node::Node;
use super::shapes;

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `2015-07-25`: members of services and stacks as names.
    Names,
    /// `2015-12-19`: members as objects.
    Objects,
    /// `2016-07-29`: names in lower case, ports with the address that is bound.
    Lower,
}

/// An index, shown in a version.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What is shown.
    pub index: &'a Index,
    /// How.
    pub version: Version,
}

/// Objects of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Objects<'a> {
    view: View<'a>,
    which: Which<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    Containers,
    Members(&'a [Id]),
    Hosts,
    Networks,
    Services(&'a [Service]),
    Stacks,
}

impl<'a> Objects<'a> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        let index = self.view.index;
        match self.which {
            Which::Containers => index.containers.len(),
            Which::Members(ids) => ids.len(),
            Which::Hosts => index.hosts.len(),
            Which::Networks => index.networks.len(),
            Which::Services(services) => services.len(),
            Which::Stacks => index.stacks.len(),
        }
    }

    /// The object at a place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Node<'a>> {
        let (view, index) = (self.view, self.view.index);
        match self.which {
            Which::Containers => {
                Some(view.container(index.container(&index.containers.get(place)?.1)?))
            }
            Which::Members(ids) => Some(view.container(index.container(ids.get(place)?)?)),
            Which::Hosts => Some(shapes::host(index.host(index.hosts.get(place)?)?)),
            Which::Networks => Some(shapes::network(index.network(index.networks.get(place)?)?)),
            Which::Services(services) => Some(view.service(services.get(place)?)),
            Which::Stacks => Some(view.stack(index.stacks.get(place)?)),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Node<'a>> {
        let all = *self;
        (0..self.len()).filter_map(move |place| all.at(place))
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let all = *self;
        (0..self.len()).map(move |place| all.name(place).unwrap_or_default())
    }

    fn name(&self, place: usize) -> Option<Cow<'a, str>> {
        let (view, index) = (self.view, self.view.index);
        let container = |id| index.container(id).map(|one| view.case(&one.name));
        match self.which {
            Which::Containers => container(&index.containers.get(place)?.1),
            Which::Members(ids) => container(ids.get(place)?),
            Which::Hosts => Some(Cow::Borrowed(&index.host(index.hosts.get(place)?)?.name)),
            Which::Networks => Some(Cow::Borrowed(
                &index.network(index.networks.get(place)?)?.name,
            )),
            Which::Services(services) => Some(view.case(&services.get(place)?.name)),
            Which::Stacks => Some(view.case(&index.stacks.get(place)?.name)),
        }
    }

    fn is(&self, place: usize, key: &str) -> bool {
        let index = self.view.index;
        if self.name(place).is_some_and(|name| name == key) {
            return true;
        }
        match self.which {
            Which::Containers => index
                .containers
                .get(place)
                .is_some_and(|(_, id)| id.as_str() == key),
            Which::Members(ids) => ids.get(place).is_some_and(|id| id.as_str() == key),
            Which::Hosts => index.hosts.get(place).is_some_and(|id| id.as_str() == key),
            Which::Networks => index
                .networks
                .get(place)
                .is_some_and(|id| id.as_str() == key),
            Which::Services(all) => all
                .get(place)
                .is_some_and(|one| shapes::service_uuid(one) == key),
            Which::Stacks => index
                .stacks
                .get(place)
                .is_some_and(|one| shapes::stack_uuid(&one.name) == key),
        }
    }

    /// The object of an index, else of a name or uuid. A number is always an index.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<Node<'a>> {
        if let Ok(place) = key.parse::<i64>() {
            return self.at(usize::try_from(place).ok()?);
        }
        if matches!(self.which, Which::Containers) {
            // The long list has an order to search by.
            return self.view.find_container(key);
        }
        (0..self.len())
            .find(|place| self.is(*place, key))
            .and_then(|place| self.at(place))
    }
}

impl<'a> View<'a> {
    pub(super) fn all(self, which: Which<'a>) -> Node<'a> {
        Node::Objects(Objects { view: self, which })
    }

    /// Names in the case of the version.
    pub(super) fn case(self, name: &'a str) -> Cow<'a, str> {
        if self.version == Version::Lower && name.chars().any(char::is_uppercase) {
            Cow::Owned(name.to_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    }

    /// Everything, as whoever has this address sees it.
    #[must_use]
    pub fn root(self, asker: IpAddr) -> Node<'a> {
        let index = self.index;
        Node::map([
            ("containers", self.all(Which::Containers)),
            ("environment_name", Node::text(&index.own.project_name)),
            ("environment_uuid", self.environment()),
            ("hosts", self.all(Which::Hosts)),
            ("networks", self.all(Which::Networks)),
            ("self", self.own(index.by_address(asker))),
            ("services", self.all(Which::Services(&index.services))),
            ("stacks", self.all(Which::Stacks)),
            ("version", Node::text(index.version.to_string())),
        ])
    }

    /// What an asker is; who is no container of the project has only a host: this one.
    fn own(self, asker: Option<&'a ContainerFact>) -> Node<'a> {
        let index = self.index;
        let Some(asker) = asker else {
            return Node::map([("host", self.host(&index.own.host))]);
        };
        let mut own = vec![
            ("container", self.container(asker)),
            ("host", self.host(&asker.host)),
        ];
        let service = index
            .service_of(asker)
            .and_then(|place| index.services.get(place));
        if let Some(service) = service {
            own.push(("service", self.service(service)));
            let stack = index
                .stack(&service.stack)
                .and_then(|place| index.stacks.get(place));
            own.extend(stack.map(|stack| ("stack", self.stack(stack))));
        }
        Node::map(own)
    }

    fn find_container(self, key: &str) -> Option<Node<'a>> {
        let is_named = |one: &&ContainerFact| self.case(&one.name) == key;
        let by_name = self.index.named(key).find(is_named);
        let by_id = || self.index.container(&key.parse().ok()?);
        Some(self.container(by_name.or_else(by_id)?))
    }
}
