"""The plots of a comparison as PNG and SVG, for a paper or a README; the page draws its own."""
