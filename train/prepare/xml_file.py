"""Reading XML from strangers."""

import xml.etree.ElementTree as ET
from pathlib import Path


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse a DTD where it begins, before an entity in it can grow ("billion laughs")."""
        raise ValueError("the file has a document type (DTD), which is refused. Remove the <!DOCTYPE …>")


def parse_xml(file: Path) -> ET.Element:
    """The root of an XML file.

    Raises:
        ValueError: it cannot be read, is not valid, or has a document type.
    """
    try:
        return ET.fromstring(file.read_bytes(), parser=ET.XMLParser(target=_Builder()))
    except ET.ParseError as error:
        raise ValueError(f"not valid XML: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read: {error.strerror}") from None
