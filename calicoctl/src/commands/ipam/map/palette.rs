//! The colours of nodes: hues far from each other, in shades from empty to full.

/// A colour as red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// Leaked addresses.
pub const ALARM: Rgb = Rgb(214, 40, 57);
/// What belongs to several, or to nobody.
pub const NEUTRAL: f64 = -1.0;

/// The hue of a node: each is the golden angle away from the one before, so that neighbours differ
/// and none comes twice.
pub fn hue(node: usize) -> f64 {
    (205.0 + node as f64 * 137.508) % 360.0
}

/// A shade of a hue: the lightness is between 0 and 1.
pub fn shade(hue: f64, lightness: f64) -> Rgb {
    let saturation = if hue < 0.0 { 0.06 } else { 0.62 };
    let hue = hue.max(0.0);
    let chroma = (1.0 - (2.0 * lightness - 1.0).abs()) * saturation;
    let second = chroma * (1.0 - ((hue / 60.0) % 2.0 - 1.0).abs());
    let (red, green, blue) = match hue {
        h if h < 60.0 => (chroma, second, 0.0),
        h if h < 120.0 => (second, chroma, 0.0),
        h if h < 180.0 => (0.0, chroma, second),
        h if h < 240.0 => (0.0, second, chroma),
        h if h < 300.0 => (second, 0.0, chroma),
        _ => (chroma, 0.0, second),
    };
    let base = lightness - chroma / 2.0;
    let byte = |part: f64| ((part + base).clamp(0.0, 1.0) * 255.0).round() as u8;
    Rgb(byte(red), byte(green), byte(blue))
}

impl Rgb {
    /// The nearest colour of the 256 that every terminal has: its cube of 6 by 6 by 6.
    pub fn cube(self) -> u8 {
        let step = |value: u8| match value {
            0..48 => 0,
            48..115 => 1,
            _ => (value - 35) / 40,
        };
        16 + 36 * step(self.0) + 6 * step(self.1) + step(self.2)
    }

    /// As a web page writes it.
    pub fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_and_the_cube() {
        assert_eq!(shade(0.0, 0.5), Rgb(207, 48, 48));
        assert_eq!(shade(NEUTRAL, 1.0).hex(), "#ffffff");
        assert_eq!(Rgb(0, 0, 0).cube(), 16);
        assert_eq!(Rgb(255, 255, 255).cube(), 231);
        assert_eq!(Rgb(255, 0, 0).cube(), 196);
    }

    #[test]
    fn twenty_nodes_have_twenty_hues() {
        let mut hues: Vec<f64> = (0..20).map(hue).collect();
        hues.sort_by(f64::total_cmp);
        assert!(hues.windows(2).all(|pair| pair[1] - pair[0] > 5.0), "{hues:?}");
    }
}
