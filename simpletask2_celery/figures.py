"""What dashboard and status command show, under the name that users import it by."""

from .watching.figures import Bucket, Counts, Figures, ModelFigures, Queue, Times, read

__all__ = ["Bucket", "Counts", "Figures", "ModelFigures", "Queue", "Times", "read"]
