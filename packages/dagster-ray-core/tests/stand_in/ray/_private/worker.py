import ray


class GlobalWorker:
    @property
    def connected(self) -> bool:
        return ray.is_initialized()


global_worker = GlobalWorker()
