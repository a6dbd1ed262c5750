from dataclasses import dataclass
from typing import List, Optional

from cog import BaseModel, BasePredictor


@dataclass
class Tree:
    name: str
    children: "List[Tree]"
    parent: "Optional[Tree]" = None


class Node(BaseModel):
    name: str
    children: "List[Node]"


class Predictor(BasePredictor):
    def predict(self, tree: Tree) -> Node:
        return Node(name="", children=[])
