//! A /27 per project from a configured pool, so that the engine's wall of some thirty networks (31 built-in
//! pools, one taken by its own bridge) does not exist.

use std::net::Ipv4Addr;

/// Addresses in a /27.
const SIZE: u32 = 32;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    first: u32,
    prefix: u8,
}

impl Net {
    /// Reads `10.201.0.0/16`; host bits must be zero.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?);
        let net = Self { first: u32::from(address), prefix };
        (prefix <= 32 && net.first & !net.mask() == 0).then_some(net)
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        self.first & mask == other.first & mask
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

/// The pool that projects are served from.
#[derive(Debug, Clone, Copy)]
pub struct Pool(Net);

impl Pool {
    /// A network of /8 to /27.
    pub fn parse(text: &str) -> Option<Self> {
        Net::parse(text).filter(|net| (8..=27).contains(&net.prefix)).map(Self)
    }

    /// How many projects it holds.
    pub fn capacity(self) -> u32 {
        1 << (27 - self.0.prefix)
    }

    /// The first /27 that is not taken and overlaps with no route of the host. A default route does not count:
    /// it covers everything.
    pub fn choose(self, taken: &[String], routes: &[Net]) -> Option<String> {
        self.free(taken, routes).next()
    }

    /// All of those, in order.
    pub fn free(self, taken: &[String], routes: &[Net]) -> impl Iterator<Item = String> {
        (0..self.capacity())
            .map(move |index| Net { first: self.0.first + index * SIZE, prefix: 27 })
            .filter(|net| !routes.iter().any(|route| route.prefix > 0 && route.overlaps(*net)))
            .map(|net| net.to_string())
            .filter(|text| !taken.contains(text))
    }
}

/// The parts of one project's /27: the gateway is its first address, dynamic addresses come from the lower
/// half, fixed ones are counted from its start and must lie in the upper half, so that they never collide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `10.201.0.0/27`.
    pub subnet: String,
    /// `10.201.0.1`.
    pub gateway: String,
    /// `10.201.0.0/28`.
    pub ip_range: String,
    first: u32,
}

impl Layout {
    /// The parts of a /27 that [`Pool::choose`] made.
    pub fn of(subnet: &str) -> Option<Self> {
        let net = Net::parse(subnet).filter(|net| net.prefix == 27)?;
        Some(Self {
            subnet: subnet.to_owned(),
            gateway: Ipv4Addr::from(net.first + 1).to_string(),
            ip_range: Net { first: net.first, prefix: 28 }.to_string(),
            first: net.first,
        })
    }

    /// The fixed address with this host number, which must lie between 16 and 30.
    pub fn fixed(&self, host: u8) -> Option<Ipv4Addr> {
        (16..=30).contains(&host).then(|| Ipv4Addr::from(self.first + u32::from(host)))
    }
}

/// The host's own IPv4 routes, from Linux's `/proc/net/route`: hexadecimal words in host byte order. Another
/// system, or a remote engine, has none to show; the engine then refuses an overlap itself.
pub fn host_routes() -> Vec<Net> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

fn parse_routes(text: &str) -> Vec<Net> {
    let route = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let destination = u32::from_str_radix(words.next()?, 16).ok()?.swap_bytes();
        let mask = u32::from_str_radix(words.nth(5)?, 16).ok()?;
        Some(Net { first: destination, prefix: u8::try_from(mask.count_ones()).ok()? })
    };
    text.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_of_sixteen_bits_holds_two_thousand_projects() {
        assert_eq!(Pool::parse("10.201.0.0/16").expect("a pool").capacity(), 2048);
        assert!(Pool::parse("10.201.0.1/16").is_none(), "host bits");
        assert!(Pool::parse("10.201.0.0/28").is_none(), "too small");
    }

    #[test]
    fn taken_and_routed_networks_are_passed_over() {
        let pool = Pool::parse("10.201.0.0/16").expect("a pool");
        let routes = parse_routes(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 0101A8C0 3 0 0 0 00000000\nvpn 4000C90A 0 1 0 0 0 C0FFFFFF\n",
        );
        assert_eq!(routes[1].to_string(), "10.201.0.64/26");
        assert_eq!(pool.choose(&["10.201.0.0/27".to_owned()], &[]).as_deref(), Some("10.201.0.32/27"));
        let taken = ["10.201.0.0/27".to_owned(), "10.201.0.32/27".to_owned()];
        assert_eq!(pool.choose(&taken, &routes).as_deref(), Some("10.201.0.128/27"));
    }

    #[test]
    fn a_full_pool_says_so() {
        let pool = Pool::parse("10.201.0.0/27").expect("a pool");
        assert_eq!(pool.choose(&["10.201.0.0/27".to_owned()], &[]), None);
    }

    #[test]
    fn fixed_addresses_lie_above_the_dynamic_ones() {
        let layout = Layout::of("10.201.0.32/27").expect("a layout");
        assert_eq!((layout.gateway.as_str(), layout.ip_range.as_str()), ("10.201.0.33", "10.201.0.32/28"));
        assert_eq!(layout.fixed(30).map(|a| a.to_string()).as_deref(), Some("10.201.0.62"));
        assert_eq!((layout.fixed(15), layout.fixed(31)), (None, None));
    }
}
